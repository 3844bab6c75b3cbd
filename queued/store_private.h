/* Shared by store.c and store_rows.c only. */
#ifndef QUEUED_STORE_PRIVATE_H
#define QUEUED_STORE_PRIVATE_H

#include "queued/store.h"

struct store {
	MDB_env *env;
	MDB_dbi dbi[DB_COUNT];
	MDB_txn *writer;
	MDB_txn *reader; /* reset between uses */
	unsigned read_depth;
	MDB_cursor *cursors[DB_COUNT]; /* of the reader, renewed with it */
	bool cursor_ready[DB_COUNT];
	char *mark; /* file whose presence makes the next start rebuild */
	uint64_t reserved; /* the data file has blocks up to here */
};

#endif
