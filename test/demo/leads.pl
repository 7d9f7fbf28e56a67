#!/usr/bin/perl
# Reads leads as CSV (RFC 4180, with or without a byte order mark, lines ended by LF or CRLF) and
# writes them as rows of demo.leads in COPY's text format. Its settings: see test/demo/run.
use strict;
use warnings;
use POSIX qw(floor);
use Time::Local qw(timegm);

my $name = $ENV{LEADS_NAME} // 'standard input';
my $real = ($ENV{DATES} // '') eq 'real';
my %column = (
  id => $ENV{LEADS_ID} || 'mql_id',
  date => $ENV{LEADS_DATE} || 'first_contact_date',
  landing => $ENV{LEADS_LANDING} || 'landing_page_id',
  source => $ENV{LEADS_SOURCE} || 'origin',
  email => $ENV{LEADS_EMAIL} || 'email',
  phone => $ENV{LEADS_PHONE} || 'phone',
  name => $ENV{LEADS_PERSON} || 'name',
);
my $line = 0;

sub bad
{
  my ($message, @hint) = @_;
  my $where = $line ? "$name, line $line" : $name;
  print STDERR "demo: $where: $message\n", map { "      $_\n" } @hint;
  exit 1;
}

# The next record as a list of fields; undef at the end. A quoted field may hold line ends.
sub record
{
  my $text = <STDIN>;
  return unless defined $text;
  $line++;
  while (($text =~ tr/"//) % 2)
  {
    my $more = <STDIN>;
    bad('a quoted field does not end') unless defined $more;
    $line++;
    $text .= $more;
  }
  bad('this is not text') if $text =~ /\0/ || !utf8::decode(my $copy = $text);
  $text =~ s/^\xef\xbb\xbf// if $line == 1;
  $text =~ s/\r?\n\z//;
  my @fields;
  while (1)
  {
    if ($text =~ /\G\s*"((?:[^"]|"")*)"\s*(?=,|\z)/gc) { push @fields, $1 =~ s/""/"/gr }
    elsif ($text =~ /\G([^",]*)(?=,|\z)/gc) { push @fields, $1 }
    else { bad('this is not CSV: a quote inside a field that is not quoted') }
    last unless $text =~ /\G,/gc;
  }
  s/^\s+|\s+$//g for @fields;
  return \@fields;
}

# A number from a text, the same everywhere.
sub hash
{
  my ($text) = @_;
  my $h = 5381;
  $h = ($h * 33 + ord) % 16777216 for split //, $text;
  return $h;
}

my $header = record();
bad('the file is empty') unless defined $header;
my %at;
$at{ $header->[$_] } //= $_ for 0 .. $#$header;
foreach my $c (qw(id date landing source))
{
  next if exists $at{ $column{$c} };
  my @there = map { substr $_, 0, 40 } splice @{ [@$header] }, 0, 10;
  bad("there is no column \"$column{$c}\"", 'The file has: ' . join(', ', @there) . '.',
    "LEADS_\U$c\E=<column> says which one to take.");
}

my (@leads, $first, $last);
while (defined(my $r = record()))
{
  next if @$r == 1 && $r->[0] eq '';
  bad(sprintf 'it has %d fields, the header has %d', scalar @$r, scalar @$header) if @$r != @$header;
  my %lead = map { $_ => exists $at{ $column{$_} } ? $r->[ $at{ $column{$_} } ] : undef } keys %column;
  bad("column \"$column{id}\" is empty") if $lead{id} eq '';
  bad("column \"$column{id}\" is longer than 60 bytes") if length $lead{id} > 60;
  my ($y, $m, $d) = $lead{date} =~ /^([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[T ].*)?$/;
  my $day = defined $d && $y >= 1970 ? eval { floor(timegm(0, 0, 0, $d, $m - 1, $y) / 86400) } : undef;
  bad("column \"$column{date}\" is not a day: \"" . substr($lead{date}, 0, 40) . '"', 'Write YYYY-MM-DD.')
    unless defined $day;
  $lead{day} = $day;
  $first = $day if !defined $first || $day < $first;
  $last = $day if !defined $last || $day > $last;
  push @leads, \%lead;
}
$line = 0;
bad('it has no leads, only a header') unless @leads;
bad(sprintf('its dates span %d years', ($last - $first) / 365), 'DATES=compress compresses them into a week.')
  if $real && $last - $first > 3660;

# What the file does not have is made up, from the lead's id: a name (one in fifteen has none), the minute of
# arrival, a number of the range that is for fiction (one in eight has none; so has who comes after the last of
# them), what the person agreed to, and a budget, which few tell.
my @first = qw(Ada Bao Carla Dmitri Elif Fatima Goran Hana Ines Jonas Kofi Lena Mateo Noor Omar Priya Quinn Rosa Sami Tove);
my @last = qw(Abebe Baker Costa Dubois Evans Fischer Garcia Haddad Ito Jensen Khan Lopez Moreau Novak Okafor Park Rossi Silva Tanaka Weber);
my @area = (201 .. 210, 212 .. 220, 224, 225, 228, 229, 231, 234, 239, 240, 248, 251 .. 254, 256, 260, 262, 267, 269, 270, 276, 281,
  301 .. 310, 312 .. 321, 323, 325, 330, 331, 334, 336, 337, 339, 347, 351, 352, 360, 361, 401 .. 410, 412 .. 419);
my $n = 0;
foreach my $lead (sort { $a->{day} <=> $b->{day} } @leads)
{
  my $h = hash($lead->{id});
  my $g = hash("$lead->{id}:");
  my @date = gmtime(86400 * ($real ? $lead->{day} : $first + floor(7 * ($lead->{day} - $first) / ($last - $first + 1))));
  my $minute = 7 * 60 + $g % (16 * 60);
  my $name = $lead->{name} // ($g % 15 ? "$first[$h % 20] $last[$g % 20]" : '');
  my $email = $lead->{email} // ($lead->{id} =~ s/[^A-Za-z0-9]+/-/gr) . '@example.com';
  # the two tenants share the numbers
  my $number = int($n / 2);
  my $phone = $lead->{phone} // ($h % 8 && $number < 100 * @area ? sprintf '+1%d55501%02d', $area[ $number / 100 ], $number % 100 : '');
  my $consent = '{' . join(',', 'email', ($h >> 4) % 6 ? 'sms' : (), ($h >> 6) % 3 ? 'whatsapp' : ()) . '}';
  my $budget = $g % 3 ? '' : 100_000 * (1 + ($h >> 3) % 9);
  $n++;
  my $intent = ('investor', 'investor', 'end_user', 'end_user', 'open_house')[ hash($lead->{landing}) % 5 ];
  my @row = ($n, 1 + $n % 2, $lead->{id}, sprintf('%d-%02d-%02d %02d:%02d', $date[5] + 1900, $date[4] + 1, $date[3], $minute / 60, $minute % 60),
    $lead->{landing}, $intent, $lead->{source}, $name, $email, $phone, $consent, $budget);
  foreach (@row)
  {
    s/([\\\t\n\r])/'\\' . ($1 =~ tr{\t\n\r}{tnr}r)/ge;
    $_ = '\N' if $_ eq '';
  }
  print join("\t", @row), "\n";
}
