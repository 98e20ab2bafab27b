{{/* What the schema can't say: which values exclude or need each other. Each has its sentence. */}}
{{- define "lockstead.validate" -}}
{{- $hasRedis := include "lockstead.hasRedis" . -}}
{{- $hasAccess := or .Values.access.existingSecret .Values.access.inline .Values.tls.clientCa.existingSecret -}}
{{- with .Values -}}
{{- if not (or .cluster.enabled .node.enabled) -}}
{{- fail "nothing is enabled: set cluster.enabled, node.enabled, or both" -}}
{{- end -}}
{{- if not (or $hasAccess .insecure) -}}
{{- fail "who may use the locks? Set access.existingSecret to a Secret with an access file, tls.clientCa for those with a certificate, or insecure=true to serve everybody who can reach the port" -}}
{{- end -}}
{{- if and $hasAccess .insecure -}}
{{- fail "insecure=true is for servers without access control, but there is some: set one of insecure, and access or tls.clientCa" -}}
{{- end -}}
{{- if and .access.existingSecret .access.inline -}}
{{- fail "access.existingSecret and access.inline are two access files: set one of the two" -}}
{{- end -}}
{{- if and .tls.existingSecret .tls.certManager.enabled -}}
{{- fail "tls.existingSecret and tls.certManager are two certificates: set one of the two" -}}
{{- end -}}
{{- if and .tls.certManager.enabled (not .tls.certManager.issuerRef.name) -}}
{{- fail "tls.certManager needs the name of an issuer: set tls.certManager.issuerRef.name" -}}
{{- end -}}
{{- if and .tls.clientCa.existingSecret (not (or .tls.existingSecret .tls.certManager.enabled)) -}}
{{- fail "tls.clientCa checks the certificates of clients, but without TLS there are none: set tls.existingSecret or tls.certManager" -}}
{{- end -}}
{{- if and .redis.existingSecret .redis.bundled.enabled -}}
{{- fail "redis.existingSecret and redis.bundled are two Redis: set one of the two" -}}
{{- end -}}
{{- if and .redis.bundled.enabled .redis.minAcks -}}
{{- fail "the bundled Redis has no replica that could confirm anything: redis.minAcks must be 0" -}}
{{- end -}}
{{- if not $hasRedis -}}
{{- if and .cluster.enabled (or (gt (int .cluster.replicas) 1) .cluster.autoscaling.enabled) -}}
{{- fail "without Redis each server would have locks of its own, so there can be one only: set redis.existingSecret, or cluster.replicas=1 without autoscaling" -}}
{{- end -}}
{{- if and .cluster.enabled .node.enabled -}}
{{- fail "without Redis each node's server would have a scope `cluster` of its own beside that of the Deployment: set redis.existingSecret, or enable one of the two" -}}
{{- end -}}
{{- if or .redis.minAcks .redis.serverLease .redis.ca.existingSecret -}}
{{- fail "redis.minAcks, redis.serverLease and redis.ca say how to use Redis, but there is none: set redis.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- if and .node.enabled (not (or .node.service.enabled .node.hostPort.port)) -}}
{{- fail "nobody could find the server of a node: set node.service.enabled or node.hostPort.port" -}}
{{- end -}}
{{- if and .cluster.autoscaling.enabled (gt (int .cluster.autoscaling.minReplicas) (int .cluster.autoscaling.maxReplicas)) -}}
{{- fail "cluster.autoscaling.minReplicas is more than its maxReplicas" -}}
{{- end -}}
{{- range $key, $_ := .server.extraConfig -}}
{{- if has $key (include "lockstead.ownSettings" $ | splitList " ") -}}
{{- fail (printf "server.extraConfig can't have `%s`: the chart makes that setting itself, of another value" $key) -}}
{{- end -}}
{{- end -}}
{{- if and .test.tokenSecret.name .test.tokenAudience -}}
{{- fail "test.tokenSecret and test.tokenAudience are two tokens: set one of the two" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lockstead.ownSettings" -}}
access drain_timeout insecure listen lock_dir lock_family log_format max_connections monitor_listen otlp_endpoint redis redis_ca redis_min_acks server_lease tls_cert tls_client_ca tls_key trace_sample_ratio
{{- end -}}
