/* Which Firecracker the API speaks like: clients compare it with what they need. */
#pragma once

#define API_VERSION "1.17.0"
