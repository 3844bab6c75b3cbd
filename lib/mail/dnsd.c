/* The dns role (dnsd.h): the link to the role that asks, and libunbound itself; what a lookup consists of is in
 * dns_lookup.c. Runs in the dns process, which may do nothing but talk DNS: the library has open advisories in this
 * distribution, so whoever breaks it gets a jail with name servers in reach, and one wrong answer. */
#include <stdlib.h>
#include <string.h>
#include <unbound-event.h>
#include <unbound.h>
#include <unistd.h>

#include "base/ipc.h"
#include "base/log.h"
#include "base/roles.h"
#include "base/sandbox.h"
#include "base/xalloc.h"
#include "mail/dns_link.h"
#include "mail/dns_lookup.h"
#include "mail/dnsd.h"

/* Questions at a time; deliverd asks one for each domain it holds mail for. */
#define LOOKUPS_MAX 8192
#define LONELY_MS 5000
#define WATCHDOG_SECONDS 20
#define MAX_FDS 8192
#ifdef __SANITIZE_ADDRESS__
#define MAX_MEMORY 0
#else
#define MAX_MEMORY ((size_t)1 << 30)
#endif

struct dnsd {
	struct loop *loop;
	struct ub_ctx *ub;
	struct ipc *peer;
	struct role_link *link; /* NULL: not a role */
	unsigned peer_generation; /* an answer for a former peer is dropped */
	unsigned n_lookups;
	struct timer lonely;
};

struct pending {
	struct dnsd *d;
	uint32_t id;
	unsigned generation;
};

static void
on_lookup_done(const struct dns_reply *reply, void *arg)
{
	struct pending *p = arg;
	struct wbuf w;

	p->d->n_lookups--;
	if (p->d->peer != NULL && p->generation == p->d->peer_generation) {
		wbuf_init(&w);
		dns_reply_encode(reply, &w);
		ipc_send(p->d->peer, DNS_ANSWER, p->id, &w, -1);
		wbuf_clear(&w);
	}
	free(p);
}

static void
on_ask(struct ipc *ipc, struct ipc_msg *m, void *arg)
{
	struct dnsd *d = arg;
	struct pending *p;
	struct dns_ask ask;

	if (dns_ask_decode(&m->body, &ask) == -1) {
		ipc_reject(ipc, "malformed question");
		return;
	}
	if (d->n_lookups >= LOOKUPS_MAX) {
		ipc_reject(ipc, "too many questions");
		return;
	}
	p = xcalloc(1, sizeof(*p));
	p->d = d;
	p->id = m->id;
	p->generation = d->peer_generation;
	d->n_lookups++;
	dns_lookup_start(d->loop, d->ub, &ask, on_lookup_done, p);
}

static void
on_peer_gone(struct ipc *ipc, const char *why, void *arg)
{
	struct dnsd *d = arg;

	(void)ipc;
	log_info("the asking role is gone: %s", why);
	d->peer = NULL;
	d->peer_generation++;
	timer_set(&d->lonely, LONELY_MS);
}

/* An asking role that died has a successor by now, who brings a new link. If the link alone broke, there is nobody to
 * bring one: only our own successor can. */
static void
on_lonely(void *arg)
{
	struct dnsd *d = arg;

	log_warn("nobody asks any more, ending for a successor");
	loop_stop(d->loop);
}

static const struct ipc_rule rules[] = {
	{ DNS_ASK, false, DNS_ASK_MAX, "ask", on_ask },
};
static const struct ipc_ops ops = { rules, sizeof(rules) / sizeof(rules[0]), on_peer_gone };

void
dnsd_set_peer(struct dnsd *d, int fd)
{
	ipc_close(&d->peer);
	timer_cancel(&d->lonely);
	d->peer_generation++;
	d->peer = ipc_new(d->loop, fd, &ops, d);
}

/* Caches are modest: deliverd remembers what it needs. A name server that failed is tried again soon. */
static int
set_options(struct dnsd *d)
{
	static const char *const options[][2] = {
		{ "use-syslog:", "no" }, { "do-not-query-localhost:", "no" }, { "unblock-lan-zones:", "yes" },
		{ "msg-cache-size:", "8m" }, { "rrset-cache-size:", "16m" }, { "key-cache-size:", "2m" },
		{ "neg-cache-size:", "1m" }, { "infra-host-ttl:", "60" }, { "num-queries-per-thread:", "2048" },
		{ "outgoing-range:", "2048" }, { "cache-max-ttl:", "86400" },
	};
	size_t i;
	int r;

	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		r = ub_ctx_set_option(d->ub, options[i][0], options[i][1]);
		if (r != 0) {
			log_error("resolver option %s %s: %s", options[i][0], options[i][1], ub_strerror(r));
			return -1;
		}
	}
	return 0;
}

/* 1: questions go to forwarders; 0: to the root name servers; -1: error. */
static int
set_servers(struct dnsd *d, const struct params *params)
{
	size_t i;
	int r;

	for (i = 0; i < params->dns_servers.n; i++) {
		r = ub_ctx_set_fwd(d->ub, params->dns_servers.v[i]);
		if (r != 0) {
			log_error("dns_servers: %s: %s", params->dns_servers.v[i], ub_strerror(r));
			return -1;
		}
	}
	if (params->dns_servers.n > 0)
		return 1;
	r = ub_ctx_resolvconf(d->ub, NULL);
	if (r == 0)
		return 1;
	log_warn("cannot use the system's resolv.conf, asking the root name servers: %s", ub_strerror(r));
	return 0;
}

/* By default, validation is for answers that we fetch ourselves. A forwarder that validates gives no bogus answer in
 * the first place, and one that strips signatures would make every answer bogus and stop all mail. */
static int
set_validation(struct dnsd *d, const struct params *params, bool is_forwarding)
{
	const char *file = params->dns_trust_anchor_file;
	bool is_wanted = params->dns_validation == DNS_VALIDATION_YES ||
	    (params->dns_validation == DNS_VALIDATION_AUTO && !is_forwarding);
	int r;

	if (is_wanted && file[0] != '\0' && access(file, R_OK) == 0) {
		r = ub_ctx_add_ta_file(d->ub, file);
	} else {
		r = ub_ctx_set_option(d->ub, "module-config:", "iterator");
		log_info("DNS answers are not validated, there is no DANE: %s", is_wanted ? "there is no trust anchor" :
		    is_forwarding ? "that is left to the forwarding name servers" : "dns_validation is no");
	}
	if (r != 0)
		log_error("resolver: trust anchor %s: %s", file, ub_strerror(r));
	return r == 0 ? 0 : -1;
}

static void
on_warm(void *arg, int rcode, void *packet, int len, int sec, char *why, int was_ratelimited)
{
	bool *done = arg;

	(void)rcode, (void)packet, (void)len, (void)sec, (void)why, (void)was_ratelimited;
	*done = true;
}

/* The first question makes the library read its files and build its worker; "localhost" is answered without a
 * packet. Names that the library would answer by itself although somebody may serve them (test.) are given back to
 * DNS. */
static int
warm_up(struct dnsd *d)
{
	static const char *const zones[] = { "test.", "invalid.", "home.arpa." };
	bool done = false;
	size_t i;
	int r;

	for (i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
		if ((r = ub_ctx_zone_remove(d->ub, zones[i])) != 0) {
			log_error("resolver: %s", ub_strerror(r));
			return -1;
		}
	r = ub_resolve_event(d->ub, "localhost.", 1, 1, &done, on_warm, NULL);
	if (r != 0 || !done) {
		log_error("resolver does not start: %s", ub_strerror(r));
		return -1;
	}
	return 0;
}

struct dnsd *
dnsd_new(struct loop *loop, const struct params *params)
{
	struct dnsd *d = xcalloc(1, sizeof(*d));
	int forwarding;

	d->loop = loop;
	timer_init(&d->lonely, loop, on_lonely, d);
	d->ub = ub_ctx_create_event(loop_base(loop));
	if (d->ub == NULL || set_options(d) == -1 || (forwarding = set_servers(d, params)) == -1 ||
	    set_validation(d, params, forwarding == 1) == -1 || warm_up(d) == -1) {
		dnsd_free(&d);
		return NULL;
	}
	return d;
}

void
dnsd_free(struct dnsd **dp)
{
	struct dnsd *d = *dp;

	*dp = NULL;
	if (d == NULL)
		return;
	ipc_close(&d->peer);
	timer_cancel(&d->lonely);
	if (d->ub != NULL)
		ub_ctx_delete(d->ub);
	free(d);
}

/* Its parameters are such as need a restart (the library opens files when it is set up), so a reload changes nothing
 * here: it is done at once. A role that drains still asks: the parent stops us when that one is gone. */
static void
on_word(enum role_word word, void *arg)
{
	struct dnsd *d = arg;

	if (word == ROLE_RELOAD)
		role_link_ready(d->link);
	if (word == ROLE_STOP || (word == ROLE_DRAIN && d->peer == NULL))
		loop_stop(d->loop);
}

static void
on_partner(int fd, void *arg)
{
	dnsd_set_peer(arg, fd);
}

int
dnsd_main(const struct params *params, const char *role, const char *user, bool is_partner)
{
	struct sandbox box = { .role = role, .user = user, .mode = (enum sandbox_mode)params->sandbox,
		.allow = SB_UDP | SB_CONNECT_IN, .max_fds = MAX_FDS, .max_memory = MAX_MEMORY };
	struct loop *loop = loop_new();
	struct dnsd *d = dnsd_new(loop, params);
	int status;

	if (d == NULL)
		fatal("no resolver");
	sandbox_enter(&box);
	if (is_partner)
		dnsd_set_peer(d, ROLE_PARTNER_FD);
	d->link = role_link_new(loop, on_word, is_partner ? on_partner : NULL, d);
	if (!is_partner)
		role_link_on_other(d->link, 0, on_partner);
	loop_watchdog(loop, WATCHDOG_SECONDS);
	role_link_ready(d->link);
	status = loop_run(loop);
	role_link_free(&d->link);
	dnsd_free(&d);
	loop_free(&loop);
	return status == 0 ? 0 : 1;
}
