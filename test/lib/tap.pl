#!/usr/bin/perl
# Runs TAP files, prints what fails, and writes "<passed> <failed> <skipped>" (assertions) to a file.
#
#   perl test/lib/tap.pl pgtap COUNTS test/pgtap/*.sql     each in a new copy of entrestate_template
#   perl test/lib/tap.pl perl COUNTS test/t/*.pl           two at a time
use strict;
use warnings;
use TAP::Harness;

my ($kind, $counts, @files) = @ARGV;
my %exec = (
	pgtap => sub {
		system(
			qw(psql -Xq -v ON_ERROR_STOP=1 -d postgres),
			'-c' => 'SET client_min_messages = warning',
			'-c' => 'DROP DATABASE IF EXISTS entrestate_pgtap WITH (FORCE)',
			'-c' => 'CREATE DATABASE entrestate_pgtap TEMPLATE entrestate_template');
		return [ qw(psql -XAtq -P pager=off -v ON_ERROR_STOP=1 -d entrestate_pgtap -f), $_[1] ];
	},
	perl => sub { [ 'perl', (map { "-I$_" } split /:/, $ENV{PERL5LIB} // ''), $_[1] ] },
);

my $harness = TAP::Harness->new(
	{
		exec     => $exec{$kind},
		jobs     => $kind eq 'perl' ? 2 : 1,
		failures => 1,
		# pgTAP explains a failure in comments, Perl's tests do it on stderr
		comments => $kind eq 'pgtap',
	});
my $all = $harness->runtests(@files);

my ($passed, $failed, $skipped) = (0, 0, 0);
foreach my $file (@files)
{
	my ($parser) = $all->parsers($file);
	my $skips = () = $parser->skipped;
	my $fails = () = $parser->failed;
	# a file that died or did not keep to its plan, without a failed assertion to show for it
	$fails = 1 if !$fails && $parser->has_problems;
	$skips++ if $parser->skip_all;
	show_log($file) if $fails && $kind eq 'perl';
	$passed += $parser->passed - $parser->skipped;
	$failed += $fails;
	$skipped += $skips;
}

# PostgreSQL::Test writes what the commands of a test print to a log of their own.
sub show_log
{
	my ($name) = $_[0] =~ m{([^/]+)\.pl$};
	open my $log, '<', "$ENV{TESTLOGDIR}/regress_log_$name" or return;
	my @lines = <$log>;
	splice @lines, 0, -30 if @lines > 30;
	print "the end of the log of $_[0]:\n", @lines;
	return;
}

open my $fh, '>', $counts or die "$counts: $!";
print $fh "$passed $failed $skipped\n";
close $fh;
exit($failed ? 1 : 0);
