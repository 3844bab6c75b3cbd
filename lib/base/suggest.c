/* Suggestions for misspelt names: parameters, policy keys, verbs. Any process; the word may come from a
 * configuration file or a command line, so its length is bounded before the quadratic work. The measure is
 * Damerau-Levenshtein in its restricted form: two neighbouring letters exchanged ("smptd") count as one mistake, as
 * they do for a typist. */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/suggest.h"

#define SUGGEST_MAX 64 /* longer words get no suggestion */

static unsigned
min2(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static char
fold(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static unsigned
edit_distance(const char *a, size_t alen, const char *b, size_t blen)
{
	unsigned row[3][SUGGEST_MAX + 1];
	size_t i, j;

	for (j = 0; j <= blen; j++)
		row[0][j] = (unsigned)j;
	for (i = 1; i <= alen; i++) {
		unsigned *cur = row[i % 3];
		const unsigned *prev = row[(i + 2) % 3], *prev2 = row[(i + 1) % 3];

		cur[0] = (unsigned)i;
		for (j = 1; j <= blen; j++) {
			bool same = fold(a[i - 1]) == fold(b[j - 1]);

			cur[j] = min2(min2(prev[j] + 1, cur[j - 1] + 1), prev[j - 1] + (same ? 0 : 1));
			if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]))
				cur[j] = min2(cur[j], prev2[j - 2] + 1);
		}
	}
	return row[alen % 3][blen];
}

void
suggest_init(struct suggest *s, const char *word)
{
	s->word = word;
	s->best = NULL;
	s->distance = 0;
}

void
suggest_consider(struct suggest *s, const char *candidate)
{
	size_t wlen = strlen(s->word), clen = strlen(candidate);
	unsigned d, limit;

	if (wlen == 0 || wlen > SUGGEST_MAX || clen > SUGGEST_MAX)
		return;
	/* A third of the letters wrong is a different word, not a slip. */
	limit = (unsigned)(wlen < 6 ? 2 : wlen / 3);
	if (wlen <= 2)
		limit = 1;
	d = edit_distance(s->word, wlen, candidate, clen);
	if (d > limit || (s->best != NULL && d >= s->distance))
		return;
	s->best = candidate;
	s->distance = d;
}

const char *
suggest_nearest(const char *word, const char *const *candidates)
{
	struct suggest s;

	suggest_init(&s, word);
	for (; *candidates != NULL; candidates++)
		suggest_consider(&s, *candidates);
	return s.best;
}
