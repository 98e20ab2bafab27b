{{/* The pod of a component, `cluster` or `node`: (dict "root" $ "component" "node"). */}}
{{- define "lockstead.pod" -}}
{{- $values := .root.Values -}}
{{- $own := get $values .component -}}
{{- $name := include "lockstead.fullname" .root -}}
metadata:
  annotations:
    # A change of the settings starts new pods. The access file and the certificates need none: servers read those anew.
    checksum/config: {{ include "lockstead.config" . | sha256sum }}
    {{- with $own.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "lockstead.podLabels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    lockstead: server
    {{- with $own.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "lockstead.serviceAccount" .root }}
  automountServiceAccountToken: false
  # What Kubernetes would set for a Service of this name, LOCKSTEAD_PORT and its like, would look like settings.
  enableServiceLinks: false
  # The pause before the shutdown, the drain, and time for last words.
  terminationGracePeriodSeconds: {{ add $values.server.preStopSeconds (include "lockstead.seconds" $values.server.drainTimeout) 10 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile:
      type: RuntimeDefault
  {{- with $values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $own.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $own.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $own.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if eq .component "cluster" }}
  topologySpreadConstraints:
    {{- include "lockstead.spread" .root | nindent 4 }}
  {{- else if $own.lockDir.prepare }}
  initContainers:
    {{- include "lockstead.prepare" .root | nindent 4 }}
  {{- end }}
  containers:
    - name: lockstead
      image: {{ include "lockstead.image" .root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args:
        - serve
        {{- with $values.server.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        {{- include "lockstead.env" .root | nindent 8 }}
      ports:
        - name: lockstead
          containerPort: 7420
          {{- if and (eq .component "node") $own.hostPort.port }}
          hostPort: {{ $own.hostPort.port }}
          {{- with $own.hostPort.ip }}
          hostIP: {{ . }}
          {{- end }}
          {{- end }}
        - name: monitor
          containerPort: 7421
      {{- include "lockstead.probes" $values.server.preStopSeconds | nindent 6 }}
      resources:
        {{- toYaml $own.resources | nindent 8 }}
      securityContext:
        {{- include "lockstead.confined" . | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/lockstead
          readOnly: true
        {{- with include "lockstead.secretMounts" .root | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- if eq .component "node" }}
        - name: locks
          mountPath: /run/lockstead
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ $name }}-{{ .component }}
    {{- with include "lockstead.secretVolumes" .root | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if eq .component "node" }}
    - name: locks
      hostPath:
        path: {{ $own.lockDir.hostPath }}
        type: DirectoryOrCreate
    {{- end }}
{{- end -}}

{{- define "lockstead.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* A server without its Redis is alive but not ready: a restart would not mend that, and would cost it its clients. */}}
{{- define "lockstead.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: monitor}
  periodSeconds: 1
  failureThreshold: 30
livenessProbe:
  httpGet: {path: /healthz, port: monitor}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: monitor}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 1
{{- if . }}
lifecycle:
  preStop:
    # The pod is taken from its Services meanwhile, so that clients that are told to move do not come back to it.
    sleep: {seconds: {{ . }}}
{{- end }}
{{- end -}}

{{- define "lockstead.spread" -}}
{{- $constraints := .Values.cluster.topologySpreadConstraints -}}
{{- if not $constraints -}}
{{- $constraints = list -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" -}}
{{- $constraints = append $constraints (dict "maxSkew" 1 "topologyKey" . "whenUnsatisfiable" "ScheduleAnyway") -}}
{{- end -}}
{{- end -}}
{{- $pods := merge (dict "app.kubernetes.io/component" "cluster") (include "lockstead.selector" . | fromYaml) -}}
{{- $spread := list -}}
{{- range $constraints -}}
{{- /* Of an update, only the new pods count. */ -}}
{{- $whom := dict "labelSelector" (dict "matchLabels" $pods) "matchLabelKeys" (list "pod-template-hash") -}}
{{- $spread = append $spread (ternary . (merge $whom .) (hasKey . "labelSelector")) -}}
{{- end -}}
{{- toYaml $spread -}}
{{- end -}}

{{/* The kubelet makes the folder for root alone. Its owner may give it to a group of his own, and needs no capability for it. */}}
{{- define "lockstead.prepare" -}}
- name: prepare
  image: {{ include "lockstead.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [sh, -c, 'chgrp 10001 "$0" && chmod 2770 "$0"', /run/lockstead]
  resources:
    {{- toYaml .Values.node.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: false
    runAsUser: 0
    runAsGroup: 10001
    {{- include "lockstead.confined" . | nindent 4 }}
  volumeMounts:
    - name: locks
      mountPath: /run/lockstead
{{- end -}}
