{{- define "tidegate.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- /* 52 leaves room for -scheduler in the 63 characters of a name. */}}
{{- define "tidegate.fullname" -}}
{{- $name := include "tidegate.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "tidegate.selector" -}}
app.kubernetes.io/name: {{ include "tidegate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "tidegate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "tidegate.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "tidegate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "tidegate.roles" -}}
{{ .Values.roles.split | ternary "api worker scheduler" "all" }}
{{- end }}

{{- define "tidegate.embedded" -}}
{{- if not (or .Values.store.url .Values.store.existingSecret) }}true{{ end }}
{{- end }}

{{- define "tidegate.pods" -}}
{{- if .Values.roles.split -}}
{{ add .Values.roles.api.replicas .Values.roles.worker.replicas .Values.roles.scheduler.replicas }}
{{- else -}}
{{ .Values.replicas }}
{{- end }}
{{- end }}

{{- /* Where trainers reach the service: a Job does inside the cluster, and needs no ingress. */}}
{{- define "tidegate.trainerUrl" -}}
{{- if .Values.trainers.url -}}
{{ .Values.trainers.url }}
{{- else if .Values.trainers.kubernetes.enabled -}}
{{ printf "http://%s.%s.svc:%v" (include "tidegate.fullname" .) .Release.Namespace .Values.service.port }}
{{- end }}
{{- end }}

{{- /* Where it may have Jobs, as a list in JSON. */}}
{{- define "tidegate.trainerNamespaces" -}}
{{- if .Values.trainers.kubernetes.enabled -}}
{{ default (list .Release.Namespace) .Values.trainers.kubernetes.namespaces | toJson }}
{{- else -}}
[]
{{- end }}
{{- end }}
