#pragma once

/* Keeps VMs alive until this process ends. Returns NULL, or what went wrong. */
const char *hold_vms(void);
