{{/* What things are called. */}}

{{- define "lockstead.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What all pods of this release have in common, and nothing that changes. */}}
{{- define "lockstead.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lockstead.labels" -}}
{{ include "lockstead.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of pods: without the chart's version, which would start all of them anew for nothing. */}}
{{- define "lockstead.podLabels" -}}
{{ include "lockstead.selector" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "lockstead.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lockstead.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "lockstead.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "lockstead.accessSecret" -}}
{{- with .Values.access -}}
{{- if .existingSecret -}}
{{ .existingSecret }}
{{- else if .inline -}}
{{ include "lockstead.fullname" $ }}-access
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lockstead.tlsSecret" -}}
{{- with .Values.tls -}}
{{- if .existingSecret -}}
{{ .existingSecret }}
{{- else if .certManager.enabled -}}
{{ include "lockstead.fullname" $ }}-tls
{{- end -}}
{{- end -}}
{{- end -}}

{{/* `true`, or nothing. */}}
{{- define "lockstead.hasRedis" -}}
{{- if or .Values.redis.existingSecret .Values.redis.bundled.enabled -}}true{{- end -}}
{{- end -}}

{{/* Where clients of the cluster find the servers. */}}
{{- define "lockstead.url" -}}
{{- $scheme := ternary "https" "http" (ne (include "lockstead.tlsSecret" .) "") -}}
{{- $service := ternary (include "lockstead.fullname" .) (printf "%s-node" (include "lockstead.fullname" .)) .Values.cluster.enabled -}}
{{ $scheme }}://{{ $service }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- end -}}
