# SPDX-License-Identifier: BSD-3-Clause
# peer.pl - what Perl with File::Map does of the benchmark's rows.
#
# Prints a line that names it, then reads lines "ROW COUNT ARGUMENT" and
# answers each with nanoseconds per operation, or with "-", "killed" or
# "wrong WHY".  Exits with 77 where there is no File::Map.

use strict;
use warnings;

use Fcntl qw(O_CREAT O_EXCL O_RDONLY O_RDWR);
use List::Util qw(sum);
use POSIX ();
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

BEGIN {
    eval { require File::Map; File::Map->import(qw(map_handle unmap)); 1 }
      or POSIX::_exit(77);
}

use constant { PAGE => 4096, TEXT => 'Hello, world!' };
use constant NEW => O_RDWR | O_CREAT | O_EXCL;

# Shared memory objects are files here.
my $path = "/dev/shm/gshm-bench-$$-perl";

sub clock { return clock_gettime(CLOCK_MONOTONIC) }

sub mean {
    my ($start, $end, $count) = @_;
    return sprintf '%.3f', 1e9 * ($end - $start) / $count;
}

sub check {
    my ($good, $why) = @_;
    die "$why\n" unless $good;
}

# A handle of an object of so many bytes that has no name.
sub nameless {
    my ($size) = @_;
    sysopen my $handle, $path, NEW, 0600 or die "open: $!\n";
    unlink $path or die "unlink: $!\n";
    truncate $handle, $size or die "truncate: $!\n";
    return $handle;
}

my %kept;

sub kept_object {
    my ($size) = @_;
    return $kept{$size} //= nameless($size);
}

sub life_cycle {
    my ($count) = @_;
    my $start = clock();
    for (1 .. $count) {
        sysopen my $handle, $path, NEW, 0600 or die "open: $!\n";
        close $handle;
        unlink $path or die "unlink: $!\n";
    }
    my $end = clock();
    check(!-e $path, 'the name is still there');
    return mean($start, $end, $count);
}

sub egg {
    my ($count) = @_;
    my $same = 0;
    my $start = clock();
    for (1 .. $count) {
        sysopen my $handle, $path, O_RDWR | O_CREAT, 0744
          or die "open: $!\n";
        truncate $handle, length TEXT;
        syswrite $handle, TEXT;
        close $handle;
        sysopen $handle, $path, O_RDONLY or die "open: $!\n";
        sysread $handle, my $read, length TEXT;
        $same++ if $read eq TEXT;
        close $handle;
        unlink $path or die "unlink: $!\n";
    }
    my $end = clock();
    check($same == $count, 'something else was read');
    check(!-e $path, 'the name is still there');
    return mean($start, $end, $count);
}

sub create {
    my ($count, $size) = @_;
    my $start = clock();
    for (1 .. $count) {
        sysopen my $handle, $path, NEW, 0600 or die "open: $!\n";
        truncate $handle, $size or die "truncate: $!\n";
        map_handle my $map, $handle, '+<';
        for (my $i = 0; $i < $size; $i += PAGE) {
            substr $map, $i, 1, "\1";
        }
        unmap $map;
        close $handle;
        unlink $path or die "unlink: $!\n";
    }
    my $end = clock();
    check(!-e $path, 'the name is still there');
    return mean($start, $end, $count);
}

sub map_times {
    my ($handle, $count, $size) = @_;
    my $last = PAGE * int(($size - 1) / PAGE);
    map_handle my $seen, $handle, '+<';
    substr $seen, $last, 1, "\0";
    my $start = clock();
    for (1 .. $count) {
        map_handle my $map, $handle, '+<';
        for (my $i = 0; $i < $size; $i += PAGE) {
            substr $map, $i, 1, "\1";
        }
        unmap $map;
    }
    my $end = clock();
    check(substr($seen, $last, 1) eq "\1",
          'the last page was not stored to');
    return mean($start, $end, $count);
}

sub map_object {
    my ($count, $size) = @_;
    return map_times(kept_object($size), $count, $size);
}

sub map_among {
    my ($count, $others) = @_;
    my $handle = kept_object(PAGE);
    my @maps = ('') x $others;
    map_handle $_, $handle, '+<' for @maps;
    my $time = map_times($handle, $count, PAGE);
    unmap $_ for @maps;
    return $time;
}

sub copy {
    my ($count, $size) = @_;
    my $handle = nameless($size);
    map_handle my $map, $handle, '+<';
    substr $map, 0, $size, pack 'C*', map { $_ % 251 } 1 .. $size;
    my $buffer = "\0" x $size;
    my $start = clock();
    for (1 .. $count) {
        $buffer = $map;
    }
    my $end = clock();
    check($buffer eq $map, 'the copy differs');
    substr $map, 0, 1, "\377";
    check($buffer ne $map, 'it is no copy');
    return mean($start, $end, $count);
}

sub floats { return map { $_ % 1000 + 0. } 0 .. $_[0] - 1 }

# A checksum of 64 bits is what sums without making a number of each.
sub sum_mapped {
    my ($count, $length) = @_;
    my $handle = nameless(8 * $length);
    map_handle my $map, $handle, '+<';
    substr $map, 0, 8 * $length, pack 'd*', floats($length);
    my $total;
    my $start = clock();
    for (1 .. $count) {
        $total = unpack '%64d*', $map;
    }
    my $end = clock();
    check($total == sum(floats($length)), "the sum is $total");
    return mean($start, $end, $count);
}

sub sum_ordinary {
    my ($count, $length) = @_;
    my @floats = floats($length);
    my $total;
    my $start = clock();
    for (1 .. $count) {
        $total = sum @floats;
    }
    my $end = clock();
    my $wanted = 0;
    $wanted += $_ % 1000 for 0 .. $length - 1;
    check($total == $wanted, "the sum is $total");
    return mean($start, $end, $count);
}

sub read_what_is_lost {
    my $handle = nameless(PAGE);
    map_handle my $map, $handle, '+<';
    truncate $handle, 0;
    return ord substr $map, 0, 1;
}

sub fault_lost {
    my $pid = fork // die "fork: $!\n";
    if ($pid == 0) {
        eval { read_what_is_lost() };
        POSIX::_exit(0);
    }
    waitpid $pid, 0;
    return ($? & 127) == POSIX::SIGBUS() ? 'killed' : '-';
}

sub fault_read_only {
    my ($count) = @_;
    my $handle = nameless(PAGE);
    map_handle my $map, $handle, '<';
    my $refused = 0;
    my $start = clock();
    for (1 .. $count) {
        eval { substr $map, 0, 1, "\1"; 1 } or $refused++;
    }
    my $end = clock();
    check($refused == $count && substr($map, 0, 1) eq "\0",
          'it was stored to');
    return mean($start, $end, $count);
}

my %rows = (
    'life-cycle'      => \&life_cycle,
    'egg'             => \&egg,
    'create'          => \&create,
    'map'             => \&map_object,
    'map-among'       => \&map_among,
    'copy'            => \&copy,
    'sum-mapped'      => \&sum_mapped,
    'sum-ordinary'    => \&sum_ordinary,
    'fault-lost'      => \&fault_lost,
    'fault-read-only' => \&fault_read_only,
);

sub answer {
    my ($row, $count, $argument) = @_;
    return '-' unless $row;
    my $answer = eval { $row->($count, $argument) };
    return $answer if defined $answer;
    my $why = $@;
    $why =~ s/\s+/ /g;
    return "wrong $why";
}

# Also who is told to end removes what it made.
my $self = $$;
$SIG{$_} = sub { exit 1 } for qw(HUP INT TERM);
END { unlink $path if defined $self && $$ == $self }

$| = 1;
printf "File::Map %s (Perl %vd)\n", File::Map->VERSION, $^V;
while (my $line = <STDIN>) {
    my ($row, $count, $argument) = split ' ', $line;
    my $answer = answer($rows{$row}, $count, $argument);
    unlink $path if $answer =~ /^wrong/;
    print "$answer\n";
}
