-- For wrk: one request again and again; its figures as a line of JSON.
-- wrk … -s load.lua URL -- METHOD CONNECTION [BODY_FILE SIGNATURE]

function init(args)
    wrk.method = args[1]
    wrk.headers["Connection"] = args[2]
    if args[3] then
        local file = assert(io.open(args[3], "rb"))
        wrk.body = file:read("*a")
        file:close()
        wrk.headers["Content-Type"] = "application/json"
        wrk.headers["X-Portainer-Signature"] = args[4]
    end
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
        errors.connect + errors.read + errors.write + errors.timeout))
end
