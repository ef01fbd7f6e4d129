#!/usr/bin/perl
print "hello from perl\n";
