/* What a configuration must satisfy beyond its syntax, in two parts that run with different rights: the policy (Lua,
 * so as nobody) and the files and directories that daemons will need (as the caller). Used by `check`, `start` and
 * `reload`. */
#ifndef POSTHORN_CHECK_H
#define POSTHORN_CHECK_H

#include "mail/params.h"

struct policy;

struct pool_source {
	char *name;
	char *address; /* "": the kernel chooses */
	char *ehlo;    /* "": myhostname */
};

/* The pools of a policy, and the sources of all. */
struct pool_list {
	char **v;
	size_t n;
	struct pool_source *sources;
	size_t n_sources;
};
void pool_list_clear(struct pool_list *);

/* What posthorn.dkim says of keys: which, and where it says so. */
struct key_list {
	struct key_ref {
		char *domain, *selector, *key, *key_dir; /* NULL but for domain: not said */
		char *file;
		unsigned line;
	} *v;
	size_t n;
};
void key_list_clear(struct key_list *);

/* Loads main.cf and the policy in a child that, if we are root, is nobody with the suite's group; all errors to
 * *errors, what is allowed but hardly meant to *warnings. keys may be NULL. 0, or -1 if there are errors. */
int check_config(const char *config_dir, struct pool_list *pools, struct key_list *keys, struct conf_errors *errors,
    struct conf_errors *warnings) __attribute__((warn_unused_result));
/* Before running Lua: root becomes nobody with the suite's group. Ends the process if that fails. */
void check_drop(void);
/* The certificate of smtpd: what smtpd would refuse, and its last days. */
void check_certificate(const struct params *, struct conf_errors *errors, struct conf_errors *warnings);
/* Other files, directories, users: what would keep the suite from running goes to errors, what is merely unwise to
 * warnings. */
void check_environment(const struct params *, const struct conf *, struct conf_errors *errors,
    struct conf_errors *warnings);
/* Both. */
void check_files(const struct params *, const struct conf *, struct conf_errors *errors, struct conf_errors *warnings);

/* check_apart.c: calls it in a process of its own, which takes all that it read along with it. */
typedef void check_fn(void *arg, struct conf_errors *errors, struct conf_errors *warnings);
void check_apart(check_fn *, void *arg, struct conf_errors *errors, struct conf_errors *warnings);

/* check_secrets.c: the child's side, and the other. */
struct shaping;
struct wbuf;
struct rbuf;
void check_secrets_tell(const struct shaping *, const char *dir, uint8_t item, struct wbuf *out);
void check_secret_decode(struct rbuf *, struct conf_errors *errors);
/* check_keys.c: keys that could not sign go to warnings: only the mail that they are for is refused. */
void check_keys(const struct params *, const struct key_list *, struct conf_errors *warnings);

/* supervise_dirs.c: directories that exist and could not be used. */
void check_directories(const struct params *, struct conf_errors *errors);
/* check_net.c: listen addresses that this host does not have; sources of the policy likewise. */
void check_listen(const struct params *, struct conf_errors *errors);
void check_sources(const char *file, const struct policy *, struct conf_errors *warnings);

/* The users that the suite wants when it is started as root. */
extern const char *const suite_users[]; /* NULL-terminated */
#define SUITE_GROUP "posthorn"
#define SUITE_QUEUE_USER "posthorn-queued"
#define SUITE_DELIVER_USER "posthorn-deliverd"
/* As root: whether all of them exist. As an ordinary user: false. */
bool suite_has_users(void);

#endif
