/* A file of metadata for the guest (MMDS). Control thread. */
#pragma once

#include "vmm/mmds/mmds.h"

/* What `mayfly run --metadata` says. */
struct metadata_options {
	const char *path; /* NULL: no metadata */
	struct mmds_config config;
};

/* PATH[,version=V1|V2][,address=A.B.C.D]; `text` is changed. */
must_check int parse_metadata(const char *name, char *text, struct metadata_options *out,
			      struct error *err);

/* Puts what the JSON file holds. The error names the file. */
must_check int metadata_load(struct mmds *mmds, const char *path, struct error *err);
