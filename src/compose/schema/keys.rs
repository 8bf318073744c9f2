//! The keys of a Compose file and the shapes of their values. Keys in one text have the same shape; the last text of an object names the
//! keys that are required.

use super::Shape::{
    self, Any, Boolean, Choice, CommandLine, ContainerName, Duration, Either, HealthTest, Integer, Limit, List, MapOf, Null, Number, Object, Pairs,
    Port, Scalar, Signed, Size, SizeText, Text, Volume,
};

pub(super) const TEXTS: Shape = List(&Text);
const TEXT_OR_TEXTS: Shape = Either(&[Text, TEXTS]);
const OPTIONS: Shape = MapOf(&Either(&[Null, Scalar]));
const EXTERNAL: Shape = Either(&[Boolean, Object(&[("name", Text)], "")]);

/// The keys of a file. Names in one text have the same shape.
pub(super) const FILE: &[(&str, Shape)] = &[
    ("include models services", Any),
    ("name version", Text),
    ("configs secrets", MapOf(&RESOURCE)),
    ("networks volumes", MapOf(&Either(&[Null, RESOURCE]))),
];
const RESOURCE: Shape = Object(&[
    ("content driver environment file name template_driver", Text),
    ("attachable enable_ipv6 internal", Boolean),
    ("driver_opts", OPTIONS),
    ("external", EXTERNAL),
    ("ipam", Object(IPAM, "")),
    ("labels", Pairs),
], "");
/// The keys that each kind of resource may have, and those of which it must have exactly one.
pub(super) const RESOURCES: [(&str, &str, &str); 4] = [
    ("configs", "content environment external file labels name template_driver", "content environment external file"),
    ("networks", "attachable driver driver_opts enable_ipv6 external internal ipam labels name", ""),
    ("secrets", "driver driver_opts environment external file labels name template_driver", "environment external file"),
    ("volumes", "driver driver_opts external labels name", ""),
];
const IPAM: &[(&str, Shape)] = &[
    ("driver", Text),
    ("options", OPTIONS),
    ("config", List(&Object(&[("gateway ip_range subnet", Text), ("aux_addresses", OPTIONS)], ""))),
];

/// The keys of a service. Those that decide about images are read by [`super`], which also reports their mistakes.
pub(super) const SERVICE: &[(&str, Shape)] = &[
    ("credential_spec extends image models platform pre_start provider pull_policy scale", Any),
    ("cgroup_parent cpuset domainname hostname ipc isolation mac_address network_mode pid restart runtime stop_signal", Text),
    ("user userns_mode uts working_dir", Text),
    ("cap_add cap_drop device_cgroup_rules devices dns_opt external_links links profiles security_opt volumes_from", TEXTS),
    ("dns dns_search tmpfs", TEXT_OR_TEXTS),
    ("annotations environment labels sysctls", Pairs),
    ("attach init oom_kill_disable privileged read_only stdin_open tty use_api_socket", Boolean),
    ("cpu_count cpu_period cpu_rt_period cpu_rt_runtime cpu_shares", Integer),
    ("oom_score_adj", Signed),
    ("cpu_quota mem_swappiness pids_limit", Limit),
    ("cpu_percent cpus", Number),
    ("mem_limit mem_reservation memswap_limit shm_size", Size),
    ("stop_grace_period", Duration),
    ("container_name", ContainerName),
    ("command entrypoint", COMMAND),
    ("expose group_add", List(&Scalar)),
    ("storage_opt", OPTIONS),
    ("cgroup", Choice("host private")),
    ("blkio_config", Object(BLKIO, "")),
    ("build", Either(&[Null, Text, Object(BUILD, "")])),
    ("configs secrets", List(&Either(&[Text, Object(&[("gid source target uid", Text), ("mode", Scalar)], "source")]))),
    ("depends_on", Either(&[TEXTS, MapOf(&Object(DEPENDENCY, "condition"))])),
    ("deploy", Either(&[Null, Object(DEPLOY, "")])),
    ("develop", Object(&[("watch", List(&Object(WATCH, "action path")))], "")),
    ("env_file", Either(&[Text, List(&Either(&[Text, Object(&[("format path", Text), ("required", Boolean)], "path")]))])),
    ("extra_hosts", Either(&[MapOf(&TEXT_OR_TEXTS), TEXTS])),
    ("gpus", Either(&[Choice("all"), List(&Any)])),
    ("healthcheck", Object(HEALTHCHECK, "")),
    ("logging", Object(&[("driver", Text), ("options", OPTIONS)], "")),
    ("networks", Either(&[TEXTS, MapOf(&Either(&[Null, Object(ATTACHMENT, "")]))])),
    ("ports", List(&Either(&[Port, Object(PORT, "target")]))),
    ("post_start pre_stop", List(&Object(LIFECYCLE, "command"))),
    ("ulimits", MapOf(&Either(&[Limit, Object(&[("hard soft", Limit)], "hard soft")]))),
    ("volumes", List(&Either(&[Volume, Object(VOLUME, "target type")]))),
];
const COMMAND: Shape = Either(&[Null, CommandLine, TEXTS]);
const BLKIO: &[(&str, Shape)] = &[
    ("weight", Integer),
    ("device_read_bps device_read_iops device_write_bps device_write_iops weight_device", Any),
];
const BUILD: &[(&str, Shape)] = &[
    ("context dockerfile dockerfile_inline isolation network target", Text),
    ("cache_from cache_to entitlements platforms tags", TEXTS),
    ("additional_contexts args labels", Pairs),
    ("no_cache privileged pull", Boolean),
    ("extra_hosts secrets shm_size ssh ulimits", Any),
];
const DEPENDENCY: &[(&str, Shape)] = &[
    ("condition", Choice("service_completed_successfully service_healthy service_started")),
    ("required restart", Boolean),
];
const WATCH: &[(&str, Shape)] = &[
    ("action path target", Text),
    ("ignore include", TEXT_OR_TEXTS),
    ("initial_sync", Boolean),
    ("exec", Any),
];
const HEALTHCHECK: &[(&str, Shape)] = &[
    ("disable", Boolean),
    ("interval start_interval start_period timeout", Duration),
    ("retries", Integer),
    ("test", HealthTest),
];
const ATTACHMENT: &[(&str, Shape)] = &[
    ("interface_name ipv4_address ipv6_address mac_address", Text),
    ("aliases link_local_ips", TEXTS),
    ("driver_opts", OPTIONS),
    ("gw_priority priority", Number),
];
const PORT: &[(&str, Shape)] = &[
    ("app_protocol host_ip mode name protocol", Text),
    ("published", Scalar),
    ("target", Integer),
];
const LIFECYCLE: &[(&str, Shape)] = &[
    ("user working_dir", Text),
    ("command", COMMAND),
    ("environment", Pairs),
    ("privileged", Boolean),
];
const VOLUME: &[(&str, Shape)] = &[
    ("consistency source target", Text),
    ("read_only", Boolean),
    ("type", Choice("bind image tmpfs volume")),
    ("tmpfs", Object(&[("mode", Integer), ("size", Size)], "")),
    ("bind image volume", Any),
];
const DEPLOY: &[(&str, Shape)] = &[
    ("endpoint_mode mode", Text),
    ("labels", Pairs),
    ("replicas", Any),
    ("placement", Object(&[("constraints", TEXTS), ("max_replicas_per_node", Integer), ("preferences", Any)], "")),
    ("resources", Object(&[("limits reservations", Object(AMOUNTS, ""))], "")),
    ("restart_policy", Object(&[("condition", Text), ("delay window", Duration), ("max_attempts", Integer)], "")),
    ("rollback_config update_config", Object(UPDATE, "")),
];
const AMOUNTS: &[(&str, Shape)] = &[
    ("cpus", Number),
    ("memory", SizeText),
    ("pids", Integer),
    ("devices", List(&Object(DEVICE, "capabilities"))),
    ("generic_resources", Any),
];
const DEVICE: &[(&str, Shape)] = &[
    ("capabilities device_ids", TEXTS),
    ("driver", Text),
    ("options", OPTIONS),
    ("count", Any),
];
const UPDATE: &[(&str, Shape)] = &[
    ("delay monitor", Duration),
    ("failure_action", Text),
    ("max_failure_ratio", Number),
    ("order", Choice("start-first stop-first")),
    ("parallelism", Integer),
];
