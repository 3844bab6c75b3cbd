/* The files of the event log: queued opens the file of each hour and everybody gets its descriptor. */
#ifndef QUEUED_LOGFILES_H
#define QUEUED_LOGFILES_H

#include <stdint.h>

struct logfiles;
struct queued;

struct logfiles *logfiles_new(struct queued *, char **err_r);
void logfiles_free(struct logfiles **);
/* Opens the next file when the hour changes (and tells everybody), or tries again if that failed. */
void logfiles_second(struct logfiles *);
/* The same for a given wall clock (ms). */
void logfiles_at(struct logfiles *, int64_t wall);
/* The file of that time, to read; -1 and errno. */
int logfiles_reader(const struct logfiles *, int64_t wall);
/* The descriptor (kept by the callee) and its hour, "20260102T03"; -1 if there is none. */
int logfiles_current(const struct logfiles *, const char **hour_r);

#endif
