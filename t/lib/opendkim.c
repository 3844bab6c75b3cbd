/* Verifies each DKIM signature of a message with libopendkim, for t/50-dkim.t: nothing of ours is in it but the reading
 * of lines. Prints "domain/selector/algorithm ok" or what libopendkim says, a line for each signature from the top.
 *
 *   opendkim records message
 *
 * records: lines of name, tab, text of the TXT record. */
#include <sys/types.h>

#include <opendkim/dkim.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LINE_MAX_OCTETS 4096

static const char *records;

static DKIM_CBSTAT
key_find(DKIM *d, DKIM_SIGINFO *sig, u_char *buf, size_t size)
{
	char name[512], line[LINE_MAX_OCTETS], *text;
	FILE *f = fopen(records, "r");
	bool is_found = false;

	(void)d;
	snprintf(name, sizeof(name), "%s._domainkey.%s.", (const char *)dkim_sig_getselector(sig),
	    (const char *)dkim_sig_getdomain(sig));
	while (f != NULL && !is_found && fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if ((text = strchr(line, '\t')) == NULL)
			continue;
		*text++ = '\0';
		is_found = strcasecmp(line, name) == 0;
		if (is_found)
			snprintf((char *)buf, size, "%s", text);
	}
	if (f != NULL)
		fclose(f);
	return is_found ? DKIM_CBSTAT_CONTINUE : DKIM_CBSTAT_NOTFOUND;
}

static DKIM_CBSTAT
on_all(DKIM *d, DKIM_SIGINFO **sigs, int n)
{
	dkim_alg_t alg;
	int i;

	for (i = 0; i < n; i++) {
		(void)dkim_sig_process(d, sigs[i]);
		(void)dkim_sig_getsignalg(sigs[i], &alg);
		printf("%s/%s/%s %s\n", (const char *)dkim_sig_getdomain(sigs[i]),
		    (const char *)dkim_sig_getselector(sigs[i]), alg == DKIM_SIGN_RSASHA256 ? "rsa-sha256" :
		    alg == DKIM_SIGN_ED25519SHA256 ? "ed25519-sha256" : "?", DKIM_SIG_CHECK(sigs[i]) ? "ok" :
		    dkim_sig_geterrorstr(dkim_sig_geterror(sigs[i])));
	}
	return DKIM_CBSTAT_CONTINUE;
}

/* The whole file with a NUL behind it. */
static char *
slurp(const char *path, size_t *len_r)
{
	FILE *f = fopen(path, "r");
	char *text = NULL;

	if (f == NULL || fseek(f, 0, SEEK_END) == -1)
		exit(2);
	*len_r = (size_t)ftell(f);
	rewind(f);
	if ((text = malloc(*len_r + 1)) == NULL || fread(text, 1, *len_r, f) != *len_r)
		exit(2);
	text[*len_r] = '\0';
	fclose(f);
	return text;
}

int
main(int argc, char **argv)
{
	DKIM_LIB *lib = dkim_init(NULL, NULL);
	DKIM_STAT status;
	char *text, *p, *end;
	size_t len;
	DKIM *d;

	if (argc != 3 || lib == NULL)
		return 2;
	records = argv[1];
	text = p = slurp(argv[2], &len);
	dkim_set_key_lookup(lib, key_find);
	dkim_set_final(lib, on_all);
	d = dkim_verify(lib, (const u_char *)"test", NULL, &status);
	/* Fields, with what is folded, each without its line end. */
	while (*p != '\0' && strncmp(p, "\r\n", 2) != 0) {
		for (end = strstr(p, "\r\n"); end != NULL && (end[2] == ' ' || end[2] == '\t');)
			end = strstr(end + 2, "\r\n");
		if (end == NULL || dkim_header(d, (u_char *)p, (size_t)(end - p)) != DKIM_STAT_OK)
			break;
		p = end + 2;
	}
	if ((status = dkim_eoh(d)) == DKIM_STAT_OK && strncmp(p, "\r\n", 2) == 0) {
		p += 2;
		if (p < text + len)
			status = dkim_body(d, (u_char *)p, len - (size_t)(p - text));
	}
	if (status == DKIM_STAT_OK)
		status = dkim_eom(d, NULL);
	if (status != DKIM_STAT_OK)
		printf("the message: %s\n", dkim_getresultstr(status));
	dkim_free(d);
	dkim_close(lib);
	free(text);
	return 0;
}
