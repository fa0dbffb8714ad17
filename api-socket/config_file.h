/*
 * A whole microVM from one JSON file, as Firecracker's --config-file: the bodies of the API's requests
 * by name. They go through the same methods, so nothing is decided here. Control thread.
 */
#pragma once

#include <jansson.h>

#include "api-socket/fields.h"

struct controller;

/* One request by its method's name: "logger.put". */
must_check int config_file_apply(struct controller *controller, const char *name, json_t *body,
				 struct error *err);

/* Configures what the file says, in Firecracker's order. -errno and *err, which names the section; what
 * came before it is configured then. */
must_check int config_file_load(struct controller *controller, const char *path, struct error *err);

/*
 * The same of a tree that came by a request: no section is a path, and a path may be one of its descriptors. Sections
 * that are not there are left alone. *err names the section.
 */
must_check int config_tree_apply(struct controller *controller, json_t *tree,
				 const struct field_fds *fds, struct error *err);

/* The data of the metadata service from a JSON file. */
must_check int config_file_load_metadata(struct controller *controller, const char *path,
					 struct error *err);

/* Starts what was configured, as InstanceStart does. */
must_check int config_file_start(struct controller *controller, struct error *err);
