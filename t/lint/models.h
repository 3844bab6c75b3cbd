/* What the analyzer of clang-tidy is told about lists, trees and hashes (make lint includes this before all else). It
 * cannot see that an element that was removed is reachable no more, and would call each next step a use of freed
 * memory. Here a change of a container is a function that it knows nothing about: what is in the container is open
 * afterwards. Elements that are put in belong to the container: they are not leaked. */
#ifndef T_LINT_MODELS_H
#define T_LINT_MODELS_H

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>
#include <uthash.h>

void model_change(void *container, const void *element);

#undef TAILQ_REMOVE
#define TAILQ_REMOVE(head, elm, field) model_change((head), (elm))
#undef RB_REMOVE
#define RB_REMOVE(name, head, elm) model_change((head), (elm))
#undef HASH_DELETE
#define HASH_DELETE(hh, head, elm) model_change(&(head), (elm))
#undef HASH_ADD_KEYPTR_BYHASHVALUE
#define HASH_ADD_KEYPTR_BYHASHVALUE(hh, head, key, len, hash, elm) model_change(&(head), (elm))

#endif
