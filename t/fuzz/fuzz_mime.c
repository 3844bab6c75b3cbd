/* MIME: parts lie inside the text, in order, within the limits; what is decoded is no longer than its limit and, as
 * text, valid UTF-8. */
#include "mail/mime.h"

#include "t/fuzz/fuzz.h"

static void
check_part(const struct mime *m, const struct mime_part *part)
{
	size_t len;
	char *text;

	FUZZ_ASSERT(part->depth <= MIME_MAX_DEPTH && strlen(part->type) < MIME_MAX_TYPE);
	FUZZ_ASSERT(part->head.base >= m->text && part->head.base + part->head.len <= m->text + m->len);
	FUZZ_ASSERT(part->body.base == part->head.base + part->head.len);
	FUZZ_ASSERT(part->body.base + part->body.len <= m->text + m->len);
	text = mime_body(part, 1000, &len);
	FUZZ_ASSERT(len <= 1000 && text[len] == '\0');
	FUZZ_ASSERT(memchr(text, '\r', len) == NULL && memchr(text, '\0', len) == NULL);
	free(text);
	text = mime_body_text(part, 100000, &len);
	FUZZ_ASSERT(text[len] == '\0' && utf8_is_valid(text, len) && len <= 200000);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mime m;

	mime_read(&m, (const char *)data, size);
	FUZZ_ASSERT(m.len <= size && m.n_parts >= 1 && m.n_parts <= MIME_MAX_PARTS && m.head.n <= MIME_MAX_FIELDS);
	for (unsigned i = 0; i < m.n_parts; i++) {
		FUZZ_ASSERT(i == 0 || m.parts[i].head.base >= m.parts[i - 1].head.base);
		check_part(&m, &m.parts[i]);
	}
	for (unsigned i = 0; i < m.head.n; i++) {
		char value[50], param[20], *text = mime_value_text(&m.head.fields[i], 100);

		FUZZ_ASSERT(fuzz_is_clean(text) && strlen(text) <= 100);
		free(text);
		FUZZ_ASSERT(mime_value(&m.head.fields[i], value, sizeof(value)) == strlen(value));
		FUZZ_ASSERT(strpbrk(value, "\r\n\t") == NULL);
		(void)mime_param(value, "boundary", param, sizeof(param));
		FUZZ_ASSERT(strlen(param) < sizeof(param));
	}
	mime_clear(&m);
	return 0;
}
