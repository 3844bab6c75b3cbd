/* "did you mean": the known word nearest to one that is unknown, by edit distance with transpositions. */
#ifndef BASE_SUGGEST_H
#define BASE_SUGGEST_H

struct suggest {
	const char *word;  /* what was written */
	const char *best;  /* the nearest candidate so far; NULL: none near enough to be worth saying */
	unsigned distance; /* of best */
};

void suggest_init(struct suggest *, const char *word);
/* The candidate is kept by reference. Equal distance: the first stays. */
void suggest_consider(struct suggest *, const char *candidate);
/* For printf-like calls: ("unknown verb '%s'" SUGGEST_FMT, verb, SUGGEST_ARGS(best)) appends "; did you mean 'best'?",
 * or nothing if best is NULL. */
#define SUGGEST_FMT "%s%s%s"
#define SUGGEST_ARGS(best) \
	(best) != NULL ? "; did you mean '" : "", (best) != NULL ? (best) : "", (best) != NULL ? "'?" : ""
/* The nearest of a NULL-terminated list, or NULL. */
const char *suggest_nearest(const char *word, const char *const *candidates);

#endif
