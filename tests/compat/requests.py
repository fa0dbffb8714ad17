"""What is asked of Firecracker and of mayfly, in the same order and in every phase: the table of the differential
test. A scenario is a life of one monitor; a request is (method, path, body). {DIR} is a folder of the scenario's
own, with disk, an empty file, and spin.elf, a payload kernel that runs for ever."""

import json

DRIVE = {"drive_id": "a", "is_root_device": False, "path_on_host": "{DIR}/disk"}
MACHINE = {"vcpu_count": 1, "mem_size_mib": 128}
BUCKET = {"size": 1000, "refill_time": 100}
KERNEL = {"kernel_image_path": "{DIR}/spin.elf"}


def with_(base, **more):
    return {**base, **{key: value for key, value in more.items()}}


def without(base, *keys):
    return {key: value for key, value in base.items() if key not in keys}


def text(body):
    return body if body is None or isinstance(body, str) else json.dumps(body, separators=(",", ":"))


def each(method, path, *bodies):
    return [(method, path, text(body)) for body in bodies]


# Bodies that are no JSON, or the wrong kind of JSON, are tried on a few endpoints.
MALFORMED = [
    "", " ", "{", "{]", "[", "[1", "xx", "1", "null", "true", '"x"', "1.5", "{}}", "{} x", "{'a':1}", "{a:1}",
    '{"a"}', '{"a":}', '{"a" 1}', '{"a":1,}', '{"a":1', '{"a":"x', '{"a":tru}', '{"a":"\\q"}', '{"a":01}', "-",
    '{"a":1 "b":2}', "\n\n{\n", '{\n  "a": 1\n}', '{"a":"\\u00e9"}', "{\"a\n\":1}",
]

BOOT = [
    {}, KERNEL, with_(KERNEL, boot_args="console=ttyS0"), with_(KERNEL, boot_args=None, initrd_path=None),
    with_(KERNEL, initrd_path="{DIR}/disk"), with_(KERNEL, initrd_path="/nonexistent"),
    {"kernel_image_path": "/nonexistent"}, {"kernel_image_path": ""}, {"kernel_image_path": 1},
    {"kernel_image_path": None}, {"kernel_image_path": ["x"]}, {"kernel_image_path": {"x": 1}},
    {"kernel_image_path": True}, {"kernel_image_path": 1.5}, {"kernel_image_path": -1}, with_(KERNEL, boot_args=1),
    with_(KERNEL, boot_args="a" * 2048), with_(KERNEL, foo=1), {"foo": 1}, {"initrd_path": "x"},
    '{"kernel_image_path":"/x","kernel_image_path":"/y"}', KERNEL,
]

MACHINES = [
    {}, {"vcpu_count": 1}, {"mem_size_mib": 128}, MACHINE, with_(MACHINE, vcpu_count=0),
    with_(MACHINE, vcpu_count=32), with_(MACHINE, vcpu_count=33), with_(MACHINE, vcpu_count=255),
    with_(MACHINE, vcpu_count=256), with_(MACHINE, vcpu_count=-1), with_(MACHINE, vcpu_count="1"),
    with_(MACHINE, vcpu_count=1.0), with_(MACHINE, vcpu_count=None), with_(MACHINE, vcpu_count=3, smt=True),
    with_(MACHINE, vcpu_count=4, smt=True), with_(MACHINE, smt=True), with_(MACHINE, smt=None), with_(MACHINE, smt=1),
    with_(MACHINE, mem_size_mib=0), with_(MACHINE, mem_size_mib=1), with_(MACHINE, mem_size_mib=-5),
    with_(MACHINE, mem_size_mib="x"), with_(MACHINE, mem_size_mib=129, huge_pages="2M"),
    with_(MACHINE, mem_size_mib=129, huge_pages="Transparent"),
    with_(MACHINE, huge_pages="2M"), with_(MACHINE, huge_pages="Transparent"), with_(MACHINE, huge_pages="1G"),
    with_(MACHINE, huge_pages=None), with_(MACHINE, huge_pages=1), with_(MACHINE, cpu_template="None"),
    with_(MACHINE, cpu_template=None), with_(MACHINE, cpu_template="T2"), with_(MACHINE, cpu_template="T2CL"),
    with_(MACHINE, cpu_template="V1N1"), with_(MACHINE, cpu_template="x"), with_(MACHINE, cpu_template=1),
    with_(MACHINE, track_dirty_pages=True), with_(MACHINE, track_dirty_pages="x"), with_(MACHINE, ht_enabled=True),
    with_(MACHINE, foo=1), MACHINE,
]

MACHINE_PATCHES = [
    {}, {"vcpu_count": 2}, {"vcpu_count": None}, {"vcpu_count": 0}, {"vcpu_count": 33}, {"smt": True},
    {"vcpu_count": 3}, {"smt": False}, {"mem_size_mib": 256}, {"mem_size_mib": 0}, {"huge_pages": "2M"},
    {"mem_size_mib": 255}, {"huge_pages": "None"}, {"huge_pages": "x"}, {"track_dirty_pages": True},
    {"track_dirty_pages": None}, {"cpu_template": "None"}, {"foo": 1}, {"vcpu_count": "x"}, [], 1, None,
    {"vcpu_count": 1, "mem_size_mib": 128, "track_dirty_pages": False},
]

DRIVES = [
    {}, {"drive_id": "a"}, {"drive_id": "a", "is_root_device": False}, without(DRIVE, "is_root_device"),
    without(DRIVE, "drive_id"), with_(DRIVE, drive_id="b"), with_(DRIVE, drive_id=1), with_(DRIVE, drive_id=None),
    with_(DRIVE, is_root_device=None), with_(DRIVE, is_root_device="x"), with_(DRIVE, is_root_device=0),
    with_(DRIVE, path_on_host="/nonexistent"), with_(DRIVE, path_on_host="/"), with_(DRIVE, path_on_host=""),
    with_(DRIVE, path_on_host=None), with_(DRIVE, path_on_host=7), with_(DRIVE, socket="/nonexistent"),
    with_(DRIVE, is_read_only=True), with_(DRIVE, is_read_only=None), with_(DRIVE, is_read_only="x"),
    with_(DRIVE, cache_type="Unsafe"), with_(DRIVE, cache_type="Writeback"), with_(DRIVE, cache_type="x"),
    with_(DRIVE, cache_type=None), with_(DRIVE, cache_type=2), with_(DRIVE, io_engine="Sync"),
    with_(DRIVE, io_engine=None), with_(DRIVE, io_engine="x"), with_(DRIVE, partuuid="0eaa91a0-01"),
    with_(DRIVE, partuuid=None), with_(DRIVE, partuuid=1), with_(DRIVE, rate_limiter=None),
    with_(DRIVE, rate_limiter={}), with_(DRIVE, rate_limiter=1), with_(DRIVE, rate_limiter={"foo": 1}),
    with_(DRIVE, rate_limiter={"bandwidth": None, "ops": None}), with_(DRIVE, rate_limiter={"bandwidth": {}}),
    with_(DRIVE, rate_limiter={"bandwidth": {"size": 1}}), with_(DRIVE, rate_limiter={"bandwidth": 1}),
    with_(DRIVE, rate_limiter={"bandwidth": {"refill_time": 1}}), with_(DRIVE, rate_limiter={"bandwidth": BUCKET}),
    with_(DRIVE, rate_limiter={"ops": with_(BUCKET, one_time_burst=5)}),
    with_(DRIVE, rate_limiter={"ops": with_(BUCKET, one_time_burst=None)}),
    with_(DRIVE, rate_limiter={"ops": with_(BUCKET, foo=1)}),
    with_(DRIVE, rate_limiter={"ops": with_(BUCKET, size=-1)}),
    with_(DRIVE, rate_limiter={"ops": with_(BUCKET, size="1")}), with_(DRIVE, foo=1), DRIVE,
]

NETS = [
    {}, {"iface_id": "n"}, {"host_dev_name": "fctap0"}, {"iface_id": "m", "host_dev_name": "fctap0"},
    {"iface_id": "n", "host_dev_name": "fctap0"}, {"iface_id": 1, "host_dev_name": "fctap0"},
    {"iface_id": "n", "host_dev_name": None}, {"iface_id": "n", "host_dev_name": "x" * 20},
]

NET = {"iface_id": "n", "host_dev_name": "fctap1"}
NETS += [
    with_(NET, guest_mac="x"), with_(NET, guest_mac=""), with_(NET, guest_mac="06:00:00:00:00"),
    with_(NET, guest_mac="06:00:00:00:00:01:02"), with_(NET, guest_mac="06:00:00:00:00:0g"),
    with_(NET, guest_mac=1), with_(NET, mtu=67), with_(NET, mtu=65536), with_(NET, mtu="x"), with_(NET, foo=1),
    with_(NET, rx_rate_limiter={"foo": 1}), with_(NET, tx_rate_limiter={"ops": {}}), with_(NET, rx_rate_limiter=1),
    {"iface_id": "n", "host_dev_name": "fctap2", "guest_mac": "06:00:00:00:00:01", "rx_rate_limiter": {},
     "tx_rate_limiter": None, "mtu": None},
]

PMEM = {"id": "p", "path_on_host": "{DIR}/disk"}
PMEMS = [
    {}, {"id": "p"}, {"path_on_host": "x"}, with_(PMEM, id="q"), PMEM, with_(PMEM, root_device=None),
    with_(PMEM, read_only=None), with_(PMEM, read_only=True), with_(PMEM, root_device="x"),
    with_(PMEM, rate_limiter={}), with_(PMEM, rate_limiter={"ops": BUCKET}), with_(PMEM, rate_limiter={"foo": 1}),
    with_(PMEM, foo=1), PMEM,
]

VSOCKS = [
    {}, {"guest_cid": 3}, {"uds_path": "x"}, {"guest_cid": 3, "uds_path": "{DIR}/v1"},
    {"guest_cid": "3", "uds_path": "{DIR}/v2"}, {"guest_cid": -1, "uds_path": "{DIR}/v2"},
    {"guest_cid": 4294967296, "uds_path": "{DIR}/v2"}, {"guest_cid": 3, "uds_path": 1},
    {"guest_cid": 3, "uds_path": "/nonexistent/v"}, {"guest_cid": 3, "uds_path": "{DIR}/" + "v" * 200},
    {"guest_cid": 3, "uds_path": "{DIR}/v3", "vsock_id": None}, {"guest_cid": 3, "uds_path": "{DIR}/v4", "foo": 1},
    {"guest_cid": 3, "uds_path": "{DIR}/v5", "vsock_id": "x"}, {"guest_cid": 3, "uds_path": "{DIR}/disk"},
    {"guest_cid": 0, "uds_path": "{DIR}/v6"}, {"guest_cid": 3, "uds_path": "{DIR}/v7"},
]

BALLOON = {"amount_mib": 0, "deflate_on_oom": True}
BALLOONS = [
    {}, {"amount_mib": 1}, {"deflate_on_oom": True}, with_(BALLOON, amount_mib=4096), with_(BALLOON, amount_mib=-1),
    with_(BALLOON, amount_mib=4294967296), with_(BALLOON, amount_mib="x"), with_(BALLOON, deflate_on_oom=None),
    with_(BALLOON, deflate_on_oom=1), with_(BALLOON, stats_polling_interval_s=65536),
    with_(BALLOON, stats_polling_interval_s=None), with_(BALLOON, free_page_hinting=None),
    with_(BALLOON, free_page_reporting="x"), with_(BALLOON, foo=1),
    with_(BALLOON, stats_polling_interval_s=1, free_page_hinting=True, free_page_reporting=True), BALLOON,
]

ENTROPIES = [{}, {"rate_limiter": None}, {"rate_limiter": {}}, {"rate_limiter": {"bandwidth": BUCKET}},
             {"rate_limiter": {"bandwidth": {}}}, {"rate_limiter": 1}, {"foo": 1}, {}]

SERIALS = [{}, {"serial_out_path": "{DIR}/serial"}, {"serial_out_path": None}, {"serial_out_path": 1}, {"foo": 1},
           {"rate_limiter": {}}, {"rate_limiter": 1}, {"rate_limiter": None}, {"rate_limiter": BUCKET}, {}]

LOGGERS = [
    {}, {"log_path": "/nonexistent/log"}, {"log_path": 1}, {"log_path": None}, {"level": "Info"}, {"level": "WARN"},
    {"level": "Warning"}, {"level": "off"}, {"level": "x"}, {"level": 1}, {"level": None}, {"show_level": True},
    {"show_level": None}, {"show_level": 1}, {"show_log_origin": True}, {"show_log_origin": "x"}, {"module": "x"},
    {"module": None}, {"module": 1}, {"foo": 1},
    {"log_path": "{DIR}/log", "level": "Info", "show_level": True, "show_log_origin": True},
]

METRICS = [
    {}, {"metrics_path": "/nonexistent/m"}, {"metrics_path": 1}, {"metrics_path": None}, {"emit_id": True},
    {"metrics_path": "{DIR}/m", "emit_id": 1}, {"metrics_path": "{DIR}/m", "properties": 1},
    {"metrics_path": "{DIR}/m", "properties": {"a": 1}}, {"metrics_path": "{DIR}/m"}, {"metrics_path": "{DIR}/m"},
    {"metrics_path": "{DIR}/m", "foo": 1},
]

LEAF = {"leaf": "0x1", "subleaf": "0x0", "flags": 0, "modifiers": [{"register": "eax", "bitmap": "0bx"}]}


def cpuid(**more):
    return {"cpuid_modifiers": [with_(LEAF, **more)]}


def register(**more):
    return cpuid(modifiers=[with_({"register": "eax", "bitmap": "0bx"}, **more)])


CPUS = [
    {"foo": 1}, {"cpuid_modifiers": 1}, {"cpuid_modifiers": [1]}, {"cpuid_modifiers": [{}]},
    {"cpuid_modifiers": [without(LEAF, "subleaf")]}, {"cpuid_modifiers": [without(LEAF, "flags")]},
    {"cpuid_modifiers": [without(LEAF, "modifiers")]}, cpuid(leaf="1"), cpuid(leaf="0b1"), cpuid(leaf="zz"),
    cpuid(leaf="0xzz"), cpuid(leaf=1), cpuid(leaf="0x100000000"), cpuid(flags="x"), cpuid(flags=256), cpuid(flags=-1),
    cpuid(modifiers=[{}]), cpuid(modifiers=1), register(register="foo"), register(register="EAX"),
    register(bitmap="0b2"), register(bitmap="1"), register(bitmap="0b" + "1" * 33), register(bitmap="0b1_0_x"),
    register(bitmap=""), register(bitmap=1), cpuid(foo=1), register(foo=1),
    {"msr_modifiers": [{"addr": "0x10a", "bitmap": "0b1_0x"}]}, {"msr_modifiers": [{"addr": "q", "bitmap": "0b1"}]},
    {"msr_modifiers": [{"addr": "0x10a"}]}, {"msr_modifiers": [{"bitmap": "0b1"}]}, {"msr_modifiers": 1},
    {"msr_modifiers": [{"addr": "0x10a", "bitmap": "0b" + "1" * 65}]},
    {"msr_modifiers": [{"addr": "0x10a", "bitmap": "0b" + "1" * 64, "foo": 1}]},
    {"kvm_capabilities": ["171", "!172"]}, {"kvm_capabilities": ["x"]}, {"kvm_capabilities": ["!"]},
    {"kvm_capabilities": ["!99999999999"]}, {"kvm_capabilities": [1]}, {"kvm_capabilities": 1},
    {"reg_modifiers": []}, {"vcpu_features": []}, cpuid(), {},
]

MMDS_CONFIGS = [
    {}, {"network_interfaces": []}, {"network_interfaces": ["nobody"]}, {"network_interfaces": 1},
    {"network_interfaces": "n"}, {"network_interfaces": [1]}, {"network_interfaces": None},
    {"network_interfaces": ["n"], "version": "V3"}, {"network_interfaces": ["n"], "version": None},
    {"network_interfaces": ["n"], "version": "V2", "ipv4_address": "x"},
    {"network_interfaces": ["n"], "version": "V2", "ipv4_address": "1.1.1.1"},
    {"network_interfaces": ["n"], "version": "V2", "ipv4_address": "169.254.0.1"},
    {"network_interfaces": ["n"], "version": "V2", "ipv4_address": 1},
    {"network_interfaces": ["n"], "version": "V2", "imds_compat": 1}, {"network_interfaces": ["n"], "foo": 1},
    {"network_interfaces": ["n"]}, {"network_interfaces": ["n"], "version": "V1"},
    {"network_interfaces": ["n"], "version": "V2", "ipv4_address": "169.254.1.1", "imds_compat": True},
]

LOAD = {"snapshot_path": "{DIR}/none", "mem_backend": {"backend_type": "File", "backend_path": "{DIR}/none"}}
LOADS = [
    {}, {"snapshot_path": "x"}, without(LOAD, "snapshot_path"), with_(LOAD, mem_file_path="x"),
    with_(LOAD, mem_backend={}), with_(LOAD, mem_backend={"backend_type": "File"}),
    with_(LOAD, mem_backend={"backend_type": "x", "backend_path": "x"}), with_(LOAD, mem_backend=1),
    with_(LOAD, mem_backend={"backend_type": "File", "backend_path": "x", "foo": 1}), with_(LOAD, foo=1),
    with_(LOAD, resume_vm="x"), with_(LOAD, resume_vm=None), with_(LOAD, network_overrides=1),
    with_(LOAD, network_overrides=[{}]), with_(LOAD, network_overrides=[{"iface_id": "a"}]),
    with_(LOAD, vsock_override={}), with_(LOAD, vsock_override=1), with_(LOAD, huge_pages="x"),
    with_(LOAD, clock_realtime=1), with_(LOAD, enable_diff_snapshots=1), with_(LOAD, track_dirty_pages=None),
    with_(LOAD, snapshot_path=1),
]

CREATE = {"snapshot_path": "{DIR}/s", "mem_file_path": "{DIR}/m"}
CREATES = [{}, {"snapshot_path": "x"}, {"mem_file_path": "x"}, with_(CREATE, snapshot_type="x"),
           with_(CREATE, snapshot_type=None), with_(CREATE, version="1.0"), with_(CREATE, snapshot_path=1), CREATE]

HOTPLUGS = [{}, {"total_size_mib": "x"}, {"foo": 1}, {"total_size_mib": -1}, {"block_size_mib": 2}]

ACTIONS = [{}, {"action_type": "x"}, {"action_type": 1}, {"action_type": None}, {"action_type": "FlushMetrics", "a": 1}]

PLAIN_GETS = ["/", "/version", "/machine-config", "/vm/config", "/balloon", "/balloon/statistics",
              "/balloon/hinting/status", "/mmds", "/hotplug/memory"]

# Paths and methods: what there is, what there is not, odd ways to write them.
PATHS = ["/", "/version", "/version/", "//version", "/version/x", "/nothing", "/nothing/x", "/vm", "/vm/config",
         "/vm/configs", "/machine-config", "/machine-config/x", "/boot-source", "/drives", "/drives/", "/drives/a",
         "/drives/a-b", "/drives/a/b", "/network-interfaces", "/network-interfaces/n", "/pmem", "/pmem/p",
         "/actions", "/logger", "/metrics", "/mmds", "/mmds/x", "/mmds/config", "/snapshot", "/snapshot/x",
         "/snapshot/create", "/snapshot/load", "/balloon", "/balloon/x", "/balloon/statistics", "/balloon/hinting",
         "/balloon/hinting/x", "/balloon/hinting/x/y", "/balloon/hintings", "/entropy", "/serial", "/cpu-config", "/vsock", "/hotplug", "/hotplug/memory",
         "/%76ersion", "/version?x=1", "/Version"]


def routing():
    found = []
    for path in PATHS:
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            if (method, path) == ("PATCH", "/mmds"):
                continue
            found.append((method, path, None))
            found.append((method, path, '{"drive_id":1,"id":1,"foo":2}' if method != "DELETE" else "{}"))
            if path.startswith("/balloon") and method in ("PUT", "PATCH"):
                found.append((method, path, '{"amount_mib":3}'))
                found.append((method, path, '{"amount_mib":3,"deflate_on_oom":true}'))
    return [request for request in found if request[:2] not in (("PUT", "/mmds"),)]


def before_start():
    return [
        *[("GET", path, None) for path in PLAIN_GETS],
        *each("PUT", "/boot-source", *MALFORMED), *each("PUT", "/boot-source", *BOOT),
        *each("PUT", "/mmds", *MALFORMED), *each("PUT", "/machine-config", *MACHINES),
        ("GET", "/machine-config", None),
        *each("PATCH", "/machine-config", *MACHINE_PATCHES), ("GET", "/machine-config", None),
        *each("PUT", "/drives/a", *DRIVES), *each("PUT", "/drives/", DRIVE), *each("PUT", "/drives/a-b", DRIVE),
        *each("PUT", "/drives/r", with_(DRIVE, drive_id="r", is_root_device=True)),
        *each("PUT", "/drives/q", with_(DRIVE, drive_id="q", is_root_device=True)),
        *each("PUT", "/drives/a", with_(DRIVE, is_root_device=True)),
        *each("PUT", "/drives/e", with_(DRIVE, drive_id="e", path_on_host="{DIR}/empty")),
        *each("PATCH", "/drives/a", {}, {"drive_id": "a"}, {"drive_id": "b"}, {"drive_id": "a", "foo": 1}),
        ("DELETE", "/drives/a", None), ("GET", "/vm/config", None),
        *each("PUT", "/network-interfaces/n", *NETS),
        *each("PUT", "/network-interfaces/m", {"iface_id": "m", "host_dev_name": "fctap3",
                                               "guest_mac": "06:00:00:00:00:01"}),
        *each("PUT", "/network-interfaces/m", {"iface_id": "m", "host_dev_name": "fctap2"}),
        *each("PATCH", "/network-interfaces/n", {}, {"iface_id": "n"}, {"iface_id": "m"}),
        ("DELETE", "/network-interfaces/n", None),
        *each("PUT", "/pmem/p", *PMEMS), *each("PATCH", "/pmem/p", {"id": "p"}), ("DELETE", "/pmem/p", None),
        *each("PUT", "/pmem/p", with_(PMEM, root_device=True)),
        *each("PUT", "/vsock", *VSOCKS), ("GET", "/balloon", None), *each("PUT", "/balloon", *BALLOONS),
        ("GET", "/balloon", None), ("GET", "/balloon/statistics", None), *each("PATCH", "/balloon", {"amount_mib": 1}),
        *each("PATCH", "/balloon/statistics", {"stats_polling_interval_s": 1}),
        *each("PATCH", "/balloon/hinting/start", {}, {"acknowledge_on_stop": 1}, {"foo": 1}),
        ("PATCH", "/balloon/hinting/start", None), ("PATCH", "/balloon/hinting/stop", None),
        *each("PUT", "/entropy", *ENTROPIES), *each("PUT", "/serial", *SERIALS),
        *each("PUT", "/logger", *LOGGERS), *each("PUT", "/metrics", *METRICS), *each("PUT", "/cpu-config", *CPUS),
        *each("PUT", "/mmds/config", *MMDS_CONFIGS),
        ("GET", "/mmds", None), *each("PATCH", "/mmds", {"a": 1}), *each("PUT", "/mmds", {"a": {"b": 1}}),
        *each("PATCH", "/mmds", {"a": {"c": [1, 2]}}), ("GET", "/mmds", None),
        *each("PATCH", "/mmds", {"a": {"b": None}}), ("GET", "/mmds", None),
        *each("PUT", "/mmds", {"a": "x" * 51000}), *each("PATCH", "/mmds", {"b": "x" * 1000}),
        ("GET", "/mmds", None),
        *each("PUT", "/mmds", '{"a":1,"b":{"c":1,"c":2},"a":2}', '{"a":0.1,"b":[1.0,-2.5,1e300,123456.789],"c":"/\\u001f"}'),
        ("GET", "/mmds", None), *each("PUT", "/mmds", {}),
        *each("PUT", "/snapshot/create", *CREATES), *each("PUT", "/snapshot/load", *LOADS),
        *each("PUT", "/snapshot/load", LOAD),
        *each("PUT", "/hotplug/memory", *HOTPLUGS), *each("PATCH", "/hotplug/memory", {}, {"requested_size_mib": 1}),
        *each("PATCH", "/vm", {}, {"state": "x"}, {"state": 1}, {"state": "Paused"}, {"state": "Resumed", "foo": 1}),
        *each("PUT", "/actions", *ACTIONS), *each("PUT", "/actions", {"action_type": "FlushMetrics"},
                                                  {"action_type": "SendCtrlAltDel"}),
        ("GET", "/vm/config", None), ("GET", "/", None),
    ]


CONFIGURE = [
    ("PUT", "/machine-config", text(MACHINE)), ("PUT", "/boot-source", text(KERNEL)),
    ("PUT", "/drives/a", text(with_(DRIVE, is_root_device=True))),
    ("PUT", "/drives/b", text(with_(DRIVE, drive_id="b", rate_limiter={"ops": BUCKET}))),
    ("PUT", "/network-interfaces/n", text({"iface_id": "n", "host_dev_name": "fctap0"})),
    ("PUT", "/vsock", text({"guest_cid": 3, "uds_path": "{DIR}/v.sock"})),
    ("PUT", "/balloon", text(with_(BALLOON, stats_polling_interval_s=1))), ("PUT", "/entropy", "{}"),
    ("PUT", "/metrics", text({"metrics_path": "{DIR}/metrics"})),
    ("PUT", "/mmds/config", text({"network_interfaces": ["n"], "version": "V2"})),
    ("PUT", "/actions", text({"action_type": "InstanceStart"})),
]

AFTER = [
    *[("GET", path, None) for path in PLAIN_GETS if path not in ("/vm/config", "/balloon/statistics")],
    *each("PUT", "/actions", {"action_type": "InstanceStart"}, {"action_type": "FlushMetrics"},
          {"action_type": "SendCtrlAltDel"}, {}),
    *each("PUT", "/machine-config", MACHINE, {}), *each("PATCH", "/machine-config", {"vcpu_count": 1}, {}),
    *each("PUT", "/boot-source", KERNEL, {}), *each("PUT", "/vsock", {"guest_cid": 3, "uds_path": "x"}),
    *each("PUT", "/balloon", BALLOON), *each("PUT", "/entropy", {}), *each("PUT", "/serial", {}),
    *each("PUT", "/logger", {}), *each("PUT", "/metrics", {"metrics_path": "x"}), *each("PUT", "/cpu-config", {}),
    *each("PUT", "/mmds/config", {"network_interfaces": ["n"]}),
    *each("PUT", "/snapshot/load", LOAD), *each("PUT", "/hotplug/memory", {"total_size_mib": 1024}),
    *each("PATCH", "/hotplug/memory", {"requested_size_mib": 2}),
    *each("PUT", "/drives/a", DRIVE), *each("PUT", "/drives/z", with_(DRIVE, drive_id="z")),
    *each("PUT", "/pmem/z", with_(PMEM, id="z")),
    *each("PUT", "/network-interfaces/z", {"iface_id": "z", "host_dev_name": "x"}),
    ("DELETE", "/drives/a", None), ("DELETE", "/drives/zz", None), ("DELETE", "/pmem/p", None),
    ("DELETE", "/network-interfaces/n", None), ("DELETE", "/drives/a", "{}"),
    *each("PATCH", "/drives/a", {"drive_id": "a"}, {"drive_id": "a", "path_on_host": "{DIR}/disk"},
          {"drive_id": "a", "path_on_host": "/nonexistent"}, {"drive_id": "a", "rate_limiter": {}},
          {"drive_id": "a", "rate_limiter": {"ops": BUCKET}}, {"drive_id": "a", "rate_limiter": None},
          {"drive_id": "a", "path_on_host": "{DIR}/disk", "rate_limiter": None}, {"drive_id": "b"}, {}),
    *each("PATCH", "/drives/zz", {"drive_id": "zz", "path_on_host": "{DIR}/disk"},
          {"drive_id": "zz", "rate_limiter": {}}),
    *each("PATCH", "/network-interfaces/n", {"iface_id": "n"}, {"iface_id": "n", "rx_rate_limiter": {}},
          {"iface_id": "n", "rx_rate_limiter": {"ops": BUCKET}, "tx_rate_limiter": {"bandwidth": BUCKET}},
          {"iface_id": "n", "tx_rate_limiter": None}, {"iface_id": "m"}),
    *each("PATCH", "/network-interfaces/zz", {"iface_id": "zz"}),
    *each("PATCH", "/pmem/q", {"id": "q"}, {"id": "q", "rate_limiter": {}}),
    *each("PATCH", "/balloon", {}, {"amount_mib": "x"}),
    *each("PATCH", "/balloon/statistics", {"stats_polling_interval_s": 0}, {}),
    *each("PATCH", "/balloon/hinting/start", {}), ("PATCH", "/balloon/hinting/stop", None),
    ("GET", "/mmds", None), *each("PUT", "/mmds", {"a": 1}), *each("PATCH", "/mmds", {"b": 2}), ("GET", "/mmds", None),
    *each("PATCH", "/vm", {"state": "Resumed"}),
]

# In which order drives come to be, and memory that is too small for a balloon of before.
def drive_(name, root=False):
    return ("PUT", f"/drives/{name}", text(with_(DRIVE, drive_id=name, is_root_device=root)))


ORDER = [
    drive_("r", True), drive_("a"), drive_("b"), drive_("c"), drive_("r"), drive_("c", True), ("GET", "/vm/config", None),
    drive_("a"), drive_("c"), drive_("n", True), ("GET", "/vm/config", None),
    *each("PUT", "/balloon", with_(BALLOON, amount_mib=100)), *each("PUT", "/machine-config", with_(MACHINE, mem_size_mib=99)),
    *each("PATCH", "/machine-config", {"mem_size_mib": 50}, {"mem_size_mib": 100}), ("GET", "/machine-config", None),
]

# Every device, and a guest that drives none of them: what can be changed all the same, and what is shown of it.
HALF = {"size": 1000, "refill_time": 100}
NOBODY_DRIVES = [
    *each("PUT", "/machine-config", with_(MACHINE, vcpu_count=2, smt=True, huge_pages="Transparent")),
    *each("PUT", "/boot-source", KERNEL), *each("PUT", "/drives/a", with_(DRIVE, rate_limiter=None)),
    *each("PUT", "/pmem/p", PMEM), *each("PUT", "/network-interfaces/n", {"iface_id": "n", "host_dev_name": "fctap0"}),
    *each("PUT", "/balloon", with_(BALLOON, stats_polling_interval_s=1, free_page_hinting=True)),
    *each("PUT", "/entropy", {"rate_limiter": {"bandwidth": HALF}}),
    *each("PUT", "/actions", {"action_type": "InstanceStart"}), ("GET", "/machine-config", None),
    *each("PATCH", "/balloon", {"amount_mib": 5}, {"amount_mib": 500}), ("GET", "/balloon", None),
    ("GET", "/balloon/statistics", None), *each("PATCH", "/balloon/statistics", {"stats_polling_interval_s": 3}),
    *each("PATCH", "/balloon/hinting/start", {}), ("GET", "/balloon/hinting/status", None),
    ("PATCH", "/balloon/hinting/stop", None), *each("PATCH", "/balloon/hinting/stop", {}),
    *each("PATCH", "/drives/a", {"drive_id": "a", "rate_limiter": {"bandwidth": HALF}}), ("GET", "/vm/config", None),
    *each("PATCH", "/drives/a", {"drive_id": "a", "rate_limiter": {"ops": {"size": 0, "refill_time": 0}}},
          {"drive_id": "a", "rate_limiter": {"bandwidth": {"size": 0, "refill_time": 0}}}), ("GET", "/vm/config", None),
    *each("PATCH", "/network-interfaces/n", {"iface_id": "n", "rx_rate_limiter": {"bandwidth": HALF}},
          {"iface_id": "n", "tx_rate_limiter": {"ops": {"size": 1, "refill_time": 1, "one_time_burst": 5}}}),
    *each("PATCH", "/pmem/p", {"id": "p", "rate_limiter": {"ops": HALF}}), ("GET", "/vm/config", None),
    *each("PATCH", "/vm", {"state": "Paused"}), *each("PATCH", "/balloon", {"amount_mib": 5}),
    ("GET", "/balloon/statistics", None),
]

# What limits nothing, and what is left out, as it is shown.
NO_LIMITS = [{}, {"ops": {"size": 0, "refill_time": 100}}, {"bandwidth": {"size": 5, "refill_time": 0}},
             {"ops": with_(BUCKET, one_time_burst=0), "bandwidth": None}]


def shown():
    for limit in NO_LIMITS:
        yield from each("PUT", "/drives/a", with_(DRIVE, rate_limiter=limit))
        yield from each("PUT", "/network-interfaces/n", {"iface_id": "n", "host_dev_name": "fctap0", "rx_rate_limiter": limit,
                                                         "tx_rate_limiter": limit})
        yield from each("PUT", "/entropy", {"rate_limiter": limit})
        yield ("GET", "/vm/config", None)
    yield from each("PUT", "/mmds/config", {"network_interfaces": ["n"]})
    yield ("GET", "/vm/config", None)


# Of each kind of metadata, before and after any was put.
METADATA = ["null", {}, {"a": 1}, {"a": None}, {"a": {"b": None}}, [1], 1, "null"]


def metadata():
    yield from each("PATCH", "/mmds", *METADATA)
    # Too large only as it is kept: 1000000000.0.
    yield from each("PUT", "/mmds", "[" + "1e9," * 5000 + "0]") + each("PATCH", "/mmds", {})
    for first in METADATA:
        for patch in METADATA:
            yield from each("PUT", "/mmds", first) + each("PATCH", "/mmds", patch) + [("GET", "/mmds", None)]


SCENARIOS = {
    "metadata": metadata,
    "shown": shown,
    "nobody-drives": lambda: NOBODY_DRIVES,
    "order": lambda: ORDER,
    "routing": routing,
    "before": before_start,
    "start-without-kernel": lambda: each("PUT", "/actions", {"action_type": "InstanceStart"}) + [("GET", "/", None)],
    "running": lambda: CONFIGURE + AFTER + each("PUT", "/snapshot/create", CREATE),
    "paused": lambda: CONFIGURE + each("PATCH", "/vm", {"state": "Paused"}, {"state": "Paused"}) + AFTER[:-1]
    + each("PUT", "/snapshot/create", {"snapshot_path": "/nonexistent/s", "mem_file_path": "/nonexistent/m"})
    + each("PATCH", "/vm", {"state": "Resumed"}) + [("GET", "/", None)],
}
