"""Every metric of the agent: name -> (type, help). docs/agent.md lists the same names (a test compares)."""

from .kernel import rows

_TO = "by destination as dialled and after NAT"

METRICS: dict[str, tuple[str, str]] = {
    "container_info": ("gauge", "A container that runs on this node; image is empty, the node's files do not tell it"),
    "container_restarts_total": ("counter", "Starts after the first"),
    "container_oom_kills_total": ("counter", "Processes killed because memory ran out"),
    "container_resources_cpu_limit_cores": ("gauge", "CPU limit, of the container or its pod"),
    "container_resources_cpu_usage_seconds_total": ("counter", "CPU time used"),
    "container_resources_cpu_delay_seconds_total": ("counter", "Time threads were ready to run but had no CPU"),
    "container_resources_cpu_throttled_seconds_total": ("counter", "Time spent stopped by the CPU limit"),
    "container_resources_memory_limit_bytes": ("gauge", "Memory limit, of the container or its pod"),
    "container_resources_memory_rss_bytes": ("gauge", "Anonymous and mapped memory"),
    "container_resources_memory_cache_bytes": ("gauge", "Page cache"),
    "container_net_tcp_listen_info": ("gauge", "An address the container listens on"),
    "container_net_tcp_accepted_connects_total": ("counter", "Connections accepted, by listening address"),
    "container_net_tcp_successful_connects_total": ("counter", f"Connections opened, {_TO}"),
    "container_net_tcp_failed_connects_total": ("counter", "Connection attempts that failed, by destination as dialled"),
    "container_net_tcp_connection_time_seconds_total": ("counter", f"Time spent connecting, {_TO}"),
    "container_net_tcp_active_connections": ("gauge", f"Open connections, {_TO}"),
    "container_net_tcp_segments_sent_total": ("counter", f"Segments with payload, those sent again included, {_TO}"),
    "container_net_tcp_retransmits_total": ("counter", f"Segments sent again, {_TO}"),
    "container_net_tcp_spurious_retransmits_total": (
        "counter", f"Segments sent again although the receiver had them, as it told by duplicate SACKs, {_TO}"),
    "container_net_tcp_bytes_sent_total": ("counter", f"Payload sent, {_TO}"),
    "container_net_tcp_bytes_received_total": ("counter", f"Payload received, {_TO}"),
    "container_net_tcp_rtt_seconds": ("gauge", f"Mean smoothed round-trip time, {_TO}"),
    "container_http_requests_total": ("counter", "Requests sent, by status class or by how they ended without an answer"),
    "container_http_requests_duration_seconds_total": (
        "histogram", "From the last byte of a request to the first of its answer, seen at the client"),
    "container_http_requests_in_flight": ("gauge", "Requests sent that have no answer yet"),
    "container_http_inbound_requests_total": (
        "counter", "Requests received, by status class or by how they ended without an answer, and by class of peer"),
    "container_http_inbound_requests_duration_seconds_total": (
        "histogram", "From the last byte of a request to the first of its answer, seen at the server"),
    "container_http_inbound_requests_in_flight": ("gauge", "Requests received that have no answer yet"),
    **{
        f"container_{protocol}_{direction}{rows.noun(protocol)}_{what}": (kind, text)
        for protocol in rows.PROTOCOLS[2:]
        for direction, did, at in (("", "sent", "client"), ("inbound_", "received", "server"))
        for what, kind, text in (
            ("total", "counter", f"Queries {did} ({protocol}), by whether the answer was an error, or how they ended without one"),
            ("duration_seconds_total", "histogram", f"From the last byte of a query to the first of its answer, seen at the {at}"),
            ("in_flight", "gauge", f"Queries {did} that have no answer yet"),
        )
    },
    "ip_to_fqdn": ("gauge", "A name that DNS answers gave to an address"),
    "node_info": ("gauge", "This node"),
    "node_uptime_seconds": ("gauge", "Time since boot"),
    "node_resources_cpu_logical_cores": ("gauge", "Logical CPUs"),
    "node_resources_cpu_usage_seconds_total": ("counter", "CPU time of the node, by mode"),
    "node_resources_memory_total_bytes": ("gauge", "Memory of the node"),
    "node_resources_memory_free_bytes": ("gauge", "Memory used by nothing"),
    "node_resources_memory_available_bytes": ("gauge", "Memory that can be had without swapping"),
    "node_resources_memory_cached_bytes": ("gauge", "Page cache of the node"),
    "node_resources_disk_reads_total": ("counter", "Reads, by device"),
    "node_resources_disk_writes_total": ("counter", "Writes, by device"),
    "node_resources_disk_read_bytes_total": ("counter", "Bytes read, by device"),
    "node_resources_disk_written_bytes_total": ("counter", "Bytes written, by device"),
    "node_resources_disk_read_time_seconds_total": ("counter", "Time spent on reads, by device"),
    "node_resources_disk_write_time_seconds_total": ("counter", "Time spent on writes, by device"),
    "node_resources_disk_io_time_seconds_total": ("counter", "Time the device was busy"),
    "node_net_received_bytes_total": ("counter", "Bytes received, by interface"),
    "node_net_transmitted_bytes_total": ("counter", "Bytes sent, by interface"),
    "node_net_received_packets_total": ("counter", "Packets received, by interface"),
    "node_net_transmitted_packets_total": ("counter", "Packets sent, by interface"),
    "node_agent_info": ("gauge", "Version of this agent"),
    "appstatus_agent_feature": ("gauge", "1 if the agent has the feature on this node, else 0 and the reason"),
    "appstatus_agent_containers": ("gauge", "Running containers by what their cgroup says they are"),
    "appstatus_agent_events_lost_total": ("counter", "Events that got lost, by where"),
    "appstatus_agent_map_full_total": ("counter", "Entries that a full map in the kernel refused"),
    "appstatus_agent_map_entries": ("gauge", "Entries in a map in the kernel"),
    "appstatus_agent_unparsed_total": ("counter", "Messages that could not be read, by protocol and reason"),
    "appstatus_agent_unknown_owner_total": ("counter", "Connections and requests whose container is unknown"),
    "appstatus_agent_destinations_folded_total": ("counter", "Destinations beyond 200 of a container, shown as ~other"),
    "appstatus_agent_samples_total": ("counter", "Samples of failed and slow requests that /samples has shown"),
    "appstatus_agent_scrape_seconds": ("gauge", "Time the last scrape took"),
    "appstatus_agent_program_seconds_total": ("counter", "Run time of a program in the kernel, estimated from samples"),
    "appstatus_agent_program_runs_total": ("counter", "Runs of a program in the kernel"),
}
