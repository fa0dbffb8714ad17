"""All tests: importing a file registers what is in it."""

import native_api  # noqa: F401
import native_attacks  # noqa: F401
import native_jail  # noqa: F401
import native_payloads  # noqa: F401
import native_pmem  # noqa: F401
import native_refusals  # noqa: F401
import native_snapshot  # noqa: F401
import native_taps  # noqa: F401
import native_terminal  # noqa: F401
import lab_agent  # noqa: F401
import lab_balloon  # noqa: F401
import lab_boot  # noqa: F401
import lab_cmdline  # noqa: F401
import lab_console  # noqa: F401
import lab_drives  # noqa: F401
import lab_ends  # noqa: F401
import lab_host  # noqa: F401
import lab_machine  # noqa: F401
import lab_mmds  # noqa: F401
import lab_net  # noqa: F401
import lab_pmem  # noqa: F401
import lab_powercut  # noqa: F401
import lab_rate  # noqa: F401
import lab_sdk  # noqa: F401
import lab_snapshot  # noqa: F401
import lab_vsock  # noqa: F401
