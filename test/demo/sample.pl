#!/usr/bin/perl
# Prints a sample of leads as CSV, the same ones each time: some without a phone, some without
# an email address, some with one that nobody can send to, some who come twice.
#
#   perl test/demo/sample.pl [how many]
use strict;
use warnings;

my $n = $ARGV[0] // 400;
die "usage: $0 [how many]\n" unless $n =~ /^[1-9][0-9]{0,4}$/;

# A generator of our own: Perl's rand() may differ between builds.
my $state = 20260105;
sub number
{
  my ($below) = @_;
  $state = ($state * 1103515245 + 12345) % 2147483648;
  return int($state / 65536) % $below;
}

my @origins = ('organic search', 'organic search', 'paid search', 'social', 'email', 'referral', '');

print "mql_id,first_contact_date,landing_page_id,origin,email\n";
for my $i (1 .. $n)
{
  my $id = sprintf '%04x%04x', number(32768), $i;
  my $kind = number(20);
  # one in forty has been here before
  my $who = number(40) || $i <= 20 ? $i : $i - 20;
  my $email = $kind == 0 ? '' : $kind == 1 ? 'please call me' : "lead.$who\@example.com";
  printf "%s,2026-01-%02d,page-%02d,%s,%s\n", $id, 5 + number(26), 1 + number(12), $origins[ number(scalar @origins) ], $email;
}
