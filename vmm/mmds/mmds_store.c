#include "vmm/mmds/mmds_store.h"

#include <stdatomic.h>
#include <string.h>

#include "vmm/mmds/mmds_json.h"

struct mmds_document {
	atomic_uint users;
	json_t *root;
};

/* Takes the reference to root, also on failure. */
static struct mmds_document *wrap(json_t *root)
{
	struct mmds_document *document = malloc(sizeof(*document));

	if (!document) {
		json_decref(root);
		return NULL;
	}
	atomic_init(&document->users, 1);
	document->root = root;
	return document;
}

static void drop(struct mmds_document *document)
{
	if (atomic_fetch_sub(&document->users, 1) > 1)
		return;
	json_decref(document->root);
	free(document);
}

int mmds_store_init(struct mmds_store *store, size_t limit)
{
	*store = (struct mmds_store){ .document = wrap(json_null()), .limit = limit };
	if (!store->document)
		return -ENOMEM;
	pthread_mutex_init(&store->lock, NULL); /* without attributes it cannot fail */
	return 0;
}

void mmds_store_fini(struct mmds_store *store)
{
	drop(store->document);
	pthread_mutex_destroy(&store->lock);
}

static struct mmds_document *current(struct mmds_store *store)
{
	struct mmds_document *document;

	pthread_mutex_lock(&store->lock);
	document = store->document;
	atomic_fetch_add(&document->users, 1);
	pthread_mutex_unlock(&store->lock);
	return document;
}

static int publish(struct mmds_store *store, json_t *root)
{
	struct mmds_document *document = wrap(root), *old;

	if (!document)
		return -ENOMEM;
	pthread_mutex_lock(&store->lock);
	old = store->document;
	store->document = document;
	pthread_mutex_unlock(&store->lock);
	drop(old);
	return 0;
}

/* A copy that fits. */
static int copy_of(const struct mmds_store *store, json_t *data, json_t **root)
{
	int ret = mmds_json_sorted(data, root);

	if (ret == 0 && mmds_json_write(*root, NULL, 0) > store->limit) {
		json_decref(*root);
		ret = -EMSGSIZE;
	}
	return ret;
}

int mmds_store_check(const struct mmds_store *store, json_t *data)
{
	json_t *root;
	int ret = copy_of(store, data, &root);

	if (ret == 0)
		json_decref(root);
	return ret;
}

int mmds_store_put(struct mmds_store *store, json_t *data)
{
	json_t *root;
	int ret = copy_of(store, data, &root);

	if (ret == 0)
		ret = publish(store, root);
	store->was_put |= ret == 0;
	return ret;
}

int mmds_store_patch(struct mmds_store *store, json_t *patch)
{
	struct mmds_document *document = current(store);
	json_t *merged = NULL, *copy = NULL;
	int ret = -ENOENT;

	if (!store->was_put)
		goto out;
	/* A copy first: it bounds the depth that the merge goes to. */
	ret = mmds_json_sorted(patch, &copy);
	if (ret < 0)
		goto out;
	ret = -ENOMEM;
	merged = mmds_json_merge(document->root, copy);
	if (merged)
		ret = mmds_store_put(store, merged);
out:
	json_decref(merged);
	json_decref(copy);
	drop(document);
	return ret;
}

json_t *mmds_store_document(struct mmds_store *store)
{
	struct mmds_document *document = current(store);
	json_t *copy = json_is_null(document->root) ? json_object()
						    : json_deep_copy(document->root);

	drop(document);
	return copy;
}

/* The next part of a path, without its slashes and with its escapes undone; false at the end. The
 * part has room for as many bytes as the path. */
static bool next_part(const char **at, const char *end, char *part, size_t *part_len)
{
	size_t len = 0;

	while (*at < end && **at == '/')
		(*at)++;
	if (*at == end)
		return false;
	for (; *at < end && **at != '/'; (*at)++) {
		const bool escape = **at == '~' && *at + 1 < end;

		if (escape && ((*at)[1] == '0' || (*at)[1] == '1'))
			part[len++] = *++*at == '0' ? '~' : '/';
		else
			part[len++] = **at;
	}
	*part_len = len;
	return true;
}

/* RFC 6901, 4: digits without a leading zero. */
static json_t *element(json_t *array, const char *part, size_t len)
{
	size_t index = 0;

	if (len == 0 || len > 9 || (len > 1 && part[0] == '0'))
		return NULL;
	for (size_t i = 0; i < len; i++) {
		if (part[i] < '0' || part[i] > '9')
			return NULL;
		index = index * 10 + (size_t)(part[i] - '0');
	}
	return json_array_get(array, index);
}

/* A borrowed reference, or NULL. */
static json_t *find(json_t *value, const char *path, size_t len, char *part)
{
	const char *at = path;
	size_t part_len;

	if (len && path[0] != '/')
		return NULL;
	while (value && next_part(&at, path + len, part, &part_len)) {
		if (json_is_object(value))
			value = json_object_getn(value, part, part_len);
		else if (json_is_array(value))
			value = element(value, part, part_len);
		else
			value = NULL;
	}
	return value;
}

/* Goes on counting when the buffer is full. */
static void add(char *buf, size_t size, size_t *len, const char *text, size_t text_len)
{
	if (*len <= size && text_len <= size - *len)
		memcpy(buf + *len, text, text_len);
	*len += text_len;
}

/* The keys of an object, a line each; returns the length like mmds_json_write(). */
static size_t write_keys(json_t *object, char *buf, size_t size)
{
	size_t len = 0;
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		if (len)
			add(buf, size, &len, "\n", 1);
		add(buf, size, &len, key, strlen(key));
		if (json_is_object(value))
			add(buf, size, &len, "/", 1);
	}
	return len;
}

static size_t write_string(json_t *string, char *buf, size_t size)
{
	size_t len = 0;

	add(buf, size, &len, json_string_value(string), json_string_length(string));
	return len;
}

static int print(json_t *value, enum mmds_format format, char **text, size_t *text_len)
{
	size_t (*write)(json_t *, char *, size_t) = mmds_json_write;
	char none;

	if (format == MMDS_IMDS && json_is_object(value))
		write = write_keys;
	else if (format == MMDS_IMDS && json_is_string(value))
		write = write_string;
	else if (format == MMDS_IMDS)
		return -ENOTSUP;

	*text_len = write(value, &none, 0);
	*text = malloc(*text_len + 1);
	if (!*text)
		return -ENOMEM;
	write(value, *text, *text_len);
	return 0;
}

int mmds_store_get(struct mmds_store *store, const char *path, size_t len, enum mmds_format format,
		   char **text, size_t *text_len)
{
	char part[MMDS_PATH_MAX];
	struct mmds_document *document;
	json_t *value;
	int ret;

	if (len > sizeof(part))
		return -ENOENT;
	document = current(store);
	value = find(document->root, path, len, part);
	ret = value ? print(value, format, text, text_len) : -ENOENT;
	drop(document);
	return ret;
}
