{{- define "appstatus.labels" -}}
app.kubernetes.io/part-of: appstatus
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Takes (list root image-values). */}}
{{- define "appstatus.image" -}}
{{- $root := index . 0 }}{{ $image := index . 1 -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}

{{- define "appstatus.createPrometheus" -}}
{{- if and .Values.prometheus.create (not .Values.prometheus.url) }}true{{ end }}
{{- end }}

{{- define "appstatus.prometheusURL" -}}
{{- if .Values.prometheus.url -}}
{{ .Values.prometheus.url }}
{{- else if .Values.prometheus.create -}}
http://appstatus-prometheus.{{ .Release.Namespace }}:9090
{{- else -}}
{{ fail "prometheus.url is empty and prometheus.create is false: give the URL of your Prometheus, let the chart install one, or set project.create to false" }}
{{- end }}
{{- end }}

{{/* Takes (list root switch): true, or auto in a cluster with the Prometheus Operator's CRDs. */}}
{{- define "appstatus.monitoring" -}}
{{- $root := index . 0 }}{{ $switch := index . 1 -}}
{{- if eq (toString $switch) "auto" -}}
{{- if $root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}true{{ end }}
{{- else if $switch }}true{{ end }}
{{- end }}

{{/* Pod Security "restricted". */}}
{{- define "appstatus.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "appstatus.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Takes (list root placement-values): where a pod may run. */}}
{{- define "appstatus.placement" -}}
{{- $root := index . 0 }}{{ $values := index . 1 -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
