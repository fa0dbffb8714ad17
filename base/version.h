/* The version, as `mayfly --version` says it. */
#pragma once

#define MAYFLY_VERSION "0.1.0"
