/* How a process ended, in words. */
#ifndef BASE_WAIT_TEXT_H
#define BASE_WAIT_TEXT_H

/* Of a status by wait(2): "exited", "exited with status 3", "killed by SIGKILL"; malloced. */
char *wait_text(int status) __attribute__((warn_unused_result));

#endif
