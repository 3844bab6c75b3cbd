/* What came out of a simulation (simulate.h), for people and as one JSON object. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"

#include "human.h"
#include "simulate.h"

#define TOP 20

struct print {
	struct table *table;
	bool has_label, has_pools;
};

static void
print_row(const struct sim_view *v, void *arg)
{
	const struct print *p = arg;
	char text[HUMAN_TEXT];

	human_count((int64_t)v->recipients, text);
	table_cell(p->table, text);
	human_count((int64_t)v->queues, text);
	table_cell(p->table, text);
	if (p->has_pools) {
		table_cell(p->table, v->old);
		table_cell(p->table, v->new);
	}
	if (p->has_label)
		table_cell(p->table, v->label);
}

/* Headings: counts, pools, label; NULL where the table does not have that. */
static void
print_table(const struct simulate *s, const char *title, const struct sim_row *rows, const char *label, bool has_pools,
    bool is_all)
{
	const char *headings[6] = { ">RECIPIENTS", ">QUEUES" };
	size_t n = 2, max = is_all ? SIZE_MAX : TOP;
	struct print p = { .has_label = label != NULL, .has_pools = has_pools };

	if (rows == NULL)
		return;
	if (has_pools) {
		headings[n++] = "OLD POOL";
		headings[n++] = "NEW POOL";
	}
	headings[n] = label;
	p.table = table_new(headings);
	n = sim_rows(s, rows, max, print_row, &p);
	printf("\n%s\n", title);
	table_print(p.table, stdout);
	if (n > max)
		printf("and %zu more; --all shows them\n", n - max);
	table_free(&p.table);
}

static void
print_line(const char *what, uint64_t n, const char *unit, uint64_t queues)
{
	char count[HUMAN_TEXT], in[HUMAN_TEXT];

	human_count((int64_t)n, count);
	human_count((int64_t)queues, in);
	printf("%s%s %s in %s queue%s\n", what, count, unit, in, queues == 1 ? "" : "s");
}

void
sim_print(const struct simulate *s, bool is_all)
{
	char lines[HUMAN_TEXT], messages[HUMAN_TEXT], n[HUMAN_TEXT];

	human_count((int64_t)s->lines, lines);
	human_count((int64_t)s->messages, messages);
	printf("read:           %s lines, %s messages\n", lines, messages);
	print_line("asked about:    ", s->recipients - s->other, "recipients", s->queues_asked);
	print_line("elsewhere:      ", s->moved, "recipients", s->moved_queues);
	print_line("without a pool: ", s->waiting, "recipients", s->waiting_queues);
	if (s->other > 0) {
		human_count((int64_t)s->other, n);
		printf("other:          %s recipients of further queues, not asked about\n", n);
	}
	if (s->bad > 0) {
		char *clean = human_clean(s->first_bad);

		human_count((int64_t)s->bad, n);
		printf("not understood: %s lines, the first %s\n", n, clean);
		free(clean);
	}
	print_table(s, "All", s->by_pool, NULL, true, true);
	print_table(s, "Without a pool", s->by_reason, "REASON", false, is_all);
	print_table(s, "Changes, by tenant", s->by_tenant, "TENANT", true, is_all);
	print_table(s, "Changes, by domain", s->by_domain, "DOMAIN", true, is_all);
}

struct json_print {
	struct json *j;
	const char *label;
	bool has_pools;
};

static void
json_row(const struct sim_view *v, void *arg)
{
	const struct json_print *p = arg;

	json_obj(p->j, NULL);
	if (p->label != NULL)
		json_str(p->j, p->label, *v->label != '\0' ? v->label : NULL);
	if (p->has_pools) {
		json_str(p->j, "old_pool", v->old);
		json_str(p->j, "new_pool", v->new);
	}
	json_int(p->j, "recipients", (int64_t)v->recipients);
	json_int(p->j, "queues", (int64_t)v->queues);
	json_obj_end(p->j);
}

static void
json_table(struct json *j, const struct simulate *s, const char *key, const struct sim_row *rows, const char *label,
    bool has_pools, bool is_all)
{
	struct json_print p = { j, label, has_pools };

	json_arr(j, key);
	(void)sim_rows(s, rows, is_all ? SIZE_MAX : TOP, json_row, &p);
	json_arr_end(j);
}

void
sim_print_json(const struct simulate *s, bool is_all)
{
	struct json j;

	json_init(&j);
	json_obj(&j, NULL);
	json_int(&j, "lines", (int64_t)s->lines);
	json_int(&j, "messages", (int64_t)s->messages);
	json_int(&j, "recipients", (int64_t)s->recipients);
	json_int(&j, "queues", (int64_t)s->queues_asked);
	json_int(&j, "elsewhere", (int64_t)s->moved);
	json_int(&j, "elsewhere_queues", (int64_t)s->moved_queues);
	json_int(&j, "without_pool", (int64_t)s->waiting);
	json_int(&j, "without_pool_queues", (int64_t)s->waiting_queues);
	json_int(&j, "other", (int64_t)s->other);
	json_int(&j, "not_understood", (int64_t)s->bad);
	json_str(&j, "first_not_understood", s->first_bad);
	json_table(&j, s, "pools", s->by_pool, NULL, true, true);
	json_table(&j, s, "reasons", s->by_reason, "reason", false, is_all);
	json_table(&j, s, "tenants", s->by_tenant, "tenant", true, is_all);
	json_table(&j, s, "domains", s->by_domain, "domain", true, is_all);
	json_obj_end(&j);
	fwrite(j.out.p, 1, j.out.len, stdout);
	putchar('\n');
	json_clear(&j);
}
