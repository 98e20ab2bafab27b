{{/* The server's settings: the TOML file, and what must not stand in one. */}}

{{/* A duration such as 30s, 1.5m or 500ms in whole seconds, rounded up. */}}
{{- define "lockstead.seconds" -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- $unit := trimPrefix $number . -}}
{{- $factor := get (dict "ms" 0.001 "s" 1 "m" 60 "h" 3600 "d" 86400) $unit -}}
{{- ceil (mulf (float64 $number) $factor) | int -}}
{{- end -}}

{{/* Of a component, `cluster` or `node`: (dict "root" $ "component" "node"). */}}
{{- define "lockstead.config" -}}
{{- $values := .root.Values -}}
drain_timeout = {{ $values.server.drainTimeout | quote }}
log_format = {{ $values.server.logFormat | quote }}
{{- if $values.insecure }}
insecure = true
{{- end }}
{{- if include "lockstead.accessSecret" .root }}
access = "/run/secrets/lockstead/access/{{ ternary $values.access.key "access.toml" (ne $values.access.existingSecret "") }}"
{{- end }}
{{- if include "lockstead.tlsSecret" .root }}
tls_cert = "/run/secrets/lockstead/tls/tls.crt"
tls_key = "/run/secrets/lockstead/tls/tls.key"
{{- end }}
{{- if $values.tls.clientCa.existingSecret }}
tls_client_ca = "/run/secrets/lockstead/client-ca/{{ $values.tls.clientCa.key }}"
{{- end }}
{{- if $values.redis.ca.existingSecret }}
redis_ca = "/run/secrets/lockstead/redis-ca/{{ $values.redis.ca.key }}"
{{- end }}
{{- with $values.redis.minAcks }}
redis_min_acks = {{ . | int }}
{{- end }}
{{- with $values.redis.serverLease }}
server_lease = {{ . | quote }}
{{- end }}
{{- with $values.server.maxConnections }}
max_connections = {{ . | int }}
{{- end }}
{{- with $values.server.traces }}
{{- if .endpoint }}
otlp_endpoint = {{ .endpoint | quote }}
trace_sample_ratio = {{ .sampleRatio }}
{{- end }}
{{- end }}
{{- if eq .component "node" }}
lock_dir = "/run/lockstead"
lock_family = {{ $values.node.lockFamily | quote }}
{{- end }}
{{- range $key, $value := $values.server.extraConfig }}
{{ $key }} = {{ $value | toJson }}
{{- end }}
{{- end -}}

{{- define "lockstead.env" -}}
{{- $values := .Values -}}
- name: LOCKSTEAD_CONFIG
  value: /etc/lockstead/lockstead.toml
- name: LOCKSTEAD_LISTEN
  value: {{ printf "%s:7420" $values.server.bindAddress | quote }}
- name: LOCKSTEAD_MONITOR_LISTEN
  value: {{ printf "%s:7421" $values.server.bindAddress | quote }}
- name: RUST_LOG
  value: {{ $values.server.logFilter | quote }}
{{- if $values.redis.existingSecret }}
- name: LOCKSTEAD_REDIS
  valueFrom:
    secretKeyRef:
      name: {{ $values.redis.existingSecret }}
      key: {{ $values.redis.key }}
{{- else if $values.redis.bundled.enabled }}
- name: LOCKSTEAD_REDIS
  value: redis://{{ include "lockstead.fullname" . }}-redis:6379
{{- end }}
{{- with $values.server.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Secrets that are files. None is mounted by `subPath`, which would not follow changes. */}}
{{- define "lockstead.secretVolumes" -}}
{{- with include "lockstead.accessSecret" . }}
- name: access
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with include "lockstead.tlsSecret" . }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.tls.clientCa.existingSecret }}
- name: client-ca
  secret:
    secretName: {{ . }}
{{- end }}
{{- with .Values.redis.ca.existingSecret }}
- name: redis-ca
  secret:
    secretName: {{ . }}
{{- end }}
{{- if .Values.access.kubernetesKeys }}
- name: kubernetes
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
{{- end }}
{{- end -}}

{{- define "lockstead.secretMounts" -}}
{{- range include "lockstead.secretVolumes" . | fromYamlArray }}
- name: {{ .name }}
  mountPath: /run/secrets/lockstead/{{ .name }}
  readOnly: true
{{- end }}
{{- end -}}
