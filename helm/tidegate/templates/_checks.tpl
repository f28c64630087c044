{{- /* What a schema cannot say: values that are fine alone and wrong together. */}}
{{- define "tidegate.checks" -}}
{{- $pods := int (include "tidegate.pods" .) }}
{{- if include "tidegate.embedded" . }}
  {{- if .Values.roles.split }}
    {{- fail "roles.split needs a store that all pods reach: set store.url or store.existingSecret." }}
  {{- end }}
  {{- if gt $pods 1 }}
    {{- fail (printf "replicas is %d, but the embedded store serves one pod: set store.url or store.existingSecret." $pods) }}
  {{- end }}
  {{- if hasPrefix "wait:" .Values.durability }}
    {{- fail (printf "durability is %s, but the embedded store has no replicas: use always or everysec." .Values.durability) }}
  {{- end }}
  {{- if not .Values.persistence.enabled }}
    {{- fail "the embedded store lives in the data volume: leave persistence.enabled on, or set store.url or store.existingSecret." }}
  {{- end }}
{{- end }}
{{- if and .Values.store.url .Values.store.existingSecret }}
  {{- fail "store.url and store.existingSecret are both set: give the address in one place." }}
{{- end }}
{{- if gt $pods 1 }}
  {{- if not (or .Values.archive .Values.persistence.enabled) }}
    {{- fail (printf "%d pods must share one data volume: leave persistence.enabled on, or set archive to an address." $pods) }}
  {{- end }}
  {{- if and .Values.persistence.enabled (ne .Values.persistence.accessMode "ReadWriteMany") }}
    {{- fail (printf "%d pods share the data volume: set persistence.accessMode to ReadWriteMany, with a storage class that offers it; or set archive to an address and persistence.enabled to false." $pods) }}
  {{- end }}
{{- end }}
{{- end }}
