/* A report as a message (tlsrpt.h): RFC 8460 section 5.3, multipart/report with the JSON compressed. It goes to our own
 * smtpd like any other mail, so that policy signs it if it signs for the sender's domain. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <zlib.h>

#include "base/xalloc.h"
#include "mail/address.h"

#include "sendmail.h"
#include "tlsrpt.h"

#define DAY 86400
#define LINE 57 /* octets in a line of base64 */
#define GZIP 31 /* deflateInit2(3): the largest window, with the header of gzip */

/* Compressed, malloced; NULL: no memory. */
static unsigned char *
compress_text(const char *text, size_t len, size_t *out_len)
{
	z_stream z = { 0 };
	unsigned char *out;

	if (deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, GZIP, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return NULL;
	*out_len = deflateBound(&z, len);
	out = xmalloc(*out_len);
	z.next_in = (unsigned char *)(uintptr_t)text;
	z.avail_in = (uInt)len;
	z.next_out = out;
	z.avail_out = (uInt)*out_len;
	if (deflate(&z, Z_FINISH) != Z_STREAM_END) {
		free(out);
		out = NULL;
	}
	*out_len = z.total_out;
	(void)deflateEnd(&z);
	return out;
}

static void
put(struct wbuf *w, char *text)
{
	wbuf_raw(w, text, strlen(text));
	free(text);
}

static void
put_base64(struct wbuf *w, const unsigned char *p, size_t len)
{
	unsigned char line[4 * LINE / 3 + 4];
	int n;

	for (; len > 0; p += n, len -= (size_t)n) {
		n = len > LINE ? LINE : (int)len;
		wbuf_raw(w, line, (size_t)EVP_EncodeBlock(line, p, n));
		wbuf_raw(w, "\r\n", 2);
	}
}

static void
put_header(const struct params *p, const struct tlsrpt_day *day, const char *domain, const struct addrlist *to,
    const char *boundary, struct wbuf *w)
{
	const char *submitter = address_domain(p->tls_report_contact);
	time_t now = time(NULL);
	char date[64] = "";
	struct tm tm;
	size_t i;

	gmtime_r(&now, &tm);
	(void)strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &tm);
	put(w, xasprintf("From: %s\r\nDate: %s\r\nTo: ", p->tls_report_contact, date));
	for (i = 0; i < to->n; i++)
		put(w, xasprintf("%s%s", i > 0 ? ",\r\n\t" : "", to->v[i]));
	put(w, xasprintf("\r\nSubject: Report Domain: %s Submitter: %s\r\n\tReport-ID: <%s_%s@%s>\r\n", domain,
	    submitter, day->text, domain, p->myhostname));
	put(w, xasprintf("Message-ID: <%lld.%s_%s@%s>\r\n", (long long)now, day->text, domain, p->myhostname));
	put(w, xasprintf("TLS-Report-Domain: %s\r\nTLS-Report-Submitter: %s\r\nAuto-Submitted: auto-generated\r\n"
	    "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=\"tlsrpt\";\r\n\tboundary=\"%s\"\r\n\r\n",
	    domain, submitter, boundary));
}

int
tlsrpt_send(const struct params *p, const char *config_dir, const struct tlsrpt_day *day, const char *domain,
    const json_t *report, const struct addrlist *to)
{
	struct sendmail sm = { .config_dir = config_dir, .sender = p->tls_report_contact, .rcpts = *to };
	char *text = json_dumps(report, JSON_COMPACT), *boundary = xasprintf("=_tlsrpt_%08x%08x", arc4random(),
	    arc4random());
	unsigned char *gz;
	struct wbuf w;
	size_t len = 0;
	int rv = EX_OSERR;

	wbuf_init(&w);
	if (text != NULL && (gz = compress_text(text, strlen(text), &len)) != NULL) {
		put_header(p, day, domain, to, boundary, &w);
		put(&w, xasprintf("--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nThis is an aggregate TLS "
		    "report of %s\r\nabout mail to %s on %s (UTC), as RFC 8460 describes.\r\n\r\n", boundary,
		    p->tls_report_organization, domain, day->text));
		put(&w, xasprintf("--%s\r\nContent-Type: application/tlsrpt+gzip\r\n"
		    "Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n"
		    "\tfilename=\"%s!%s!%lld!%lld.json.gz\"\r\n\r\n", boundary,
		    address_domain(p->tls_report_contact), domain, (long long)day->begin,
		    (long long)(day->begin + DAY - 1)));
		put_base64(&w, gz, len);
		put(&w, xasprintf("\r\n--%s--\r\n", boundary));
		free(gz);
		rv = sendmail_submit(&sm, p, &w);
	}
	wbuf_clear(&w);
	free(boundary);
	free(text);
	return rv;
}
