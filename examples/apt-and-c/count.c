/* Counts lines, words and bytes of standard input. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        puts("usage: count < FILE");
        return 0;
    }
    unsigned long lines = 0, words = 0, bytes = 0;
    int in_word = 0;
    for (int c; (c = getchar()) != EOF; bytes++) {
        lines += c == '\n';
        words += !isspace(c) && !in_word;
        in_word = !isspace(c);
    }
    printf("%lu %lu %lu\n", lines, words, bytes);
    return ferror(stdin) != 0;
}
