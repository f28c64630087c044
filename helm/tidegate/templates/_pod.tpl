{{- /* The pod of one role. Takes a dict: root, role, resources. */}}
{{- define "tidegate.pod" -}}
{{- $ := .root -}}
metadata:
  labels:
    {{- with $.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- include "tidegate.labels" $ | nindent 4 }}
    app.kubernetes.io/component: {{ .role }}
  {{- with $.Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "tidegate.serviceAccount" $ }}
  {{- /* Who decides also launches; the others have nothing to say to the cluster. */}}
  automountServiceAccountToken: {{ or $.Values.serviceAccount.automountToken (and $.Values.trainers.kubernetes.enabled (has .role (list "all" "scheduler"))) }}
  # A Service named tidegate would set TIDEGATE_PORT=tcp://…, which the service would read as its own setting.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $.Values.terminationGracePeriodSeconds }}
  {{- with $.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    {{- with $.Values.security.runAsUser }}
    runAsUser: {{ int64 . }}
    runAsGroup: {{ int64 . }}
    {{- end }}
    {{- with $.Values.security.fsGroup }}
    fsGroup: {{ int64 . }}
    fsGroupChangePolicy: OnRootMismatch
    {{- end }}
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: tidegate
      image: {{ include "tidegate.image" $ | quote }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      args:
        - serve
        - --role={{ .role }}
        - --host=0.0.0.0
        - --port=8321
        - --data-dir=/data
        - --policies=/policies
      env:
        - {name: TIDEGATE_KEYS_FILE, value: {{ printf "/keys/%s" $.Values.keys.key | quote }}}
        - {name: TIDEGATE_DURABILITY, value: {{ $.Values.durability | quote }}}
        # Libraries that want a home or a scratch folder find the one writable place.
        - {name: HOME, value: /tmp}
        {{- if $.Values.store.existingSecret }}
        - name: TIDEGATE_STORE
          valueFrom: {secretKeyRef: {name: {{ $.Values.store.existingSecret | quote }}, key: {{ $.Values.store.key | quote }}}}
        {{- else if $.Values.store.url }}
        - {name: TIDEGATE_STORE, value: {{ $.Values.store.url | quote }}}
        {{- end }}
        {{- with $.Values.archive }}
        - {name: TIDEGATE_ARCHIVE, value: {{ . | quote }}}
        {{- end }}
        {{- with $.Values.notices.existingSecret }}
        - name: TIDEGATE_NOTICE_URL
          valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: {{ $.Values.notices.urlKey | quote }}, optional: true}}
        - name: TIDEGATE_NOTICE_SECRET
          valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: {{ $.Values.notices.secretKey | quote }}, optional: true}}
        - name: TIDEGATE_SLACK_URL
          valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: {{ $.Values.notices.slackKey | quote }}, optional: true}}
        {{- end }}
        {{- with $.Values.console.url }}
        - {name: TIDEGATE_PUBLIC_URL, value: {{ . | quote }}}
        {{- end }}
        {{- with include "tidegate.trainerUrl" $ }}
        - {name: TIDEGATE_TRAINER_URL, value: {{ . | quote }}}
        {{- end }}
        {{- if $.Values.trainers.kubernetes.enabled }}
        - {name: TIDEGATE_TRAINER_IMAGE, value: {{ default (include "tidegate.image" $) $.Values.trainers.kubernetes.image | quote }}}
        {{- end }}
        {{- with $.Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $.Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: http, containerPort: 8321}
      # A long start (an append-only file to read back) is not a hung process.
      startupProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 2
        failureThreshold: 90
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 5
        timeoutSeconds: 3
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      {{- with .resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - {name: data, mountPath: /data}
        - {name: policies, mountPath: /policies, readOnly: true}
        - {name: keys, mountPath: /keys, readOnly: true}
        - {name: tmp, mountPath: /tmp}
  volumes:
    - name: data
      {{- if $.Values.persistence.enabled }}
      persistentVolumeClaim: {claimName: {{ default (printf "%s-data" (include "tidegate.fullname" $)) $.Values.persistence.existingClaim }}}
      {{- else }}
      emptyDir: {}
      {{- end }}
    - name: policies
      {{- with $.Values.trainers.kubernetes.templates }}
      projected:
        sources:
          - configMap: {name: {{ include "tidegate.fullname" $ }}-policies}
          - configMap:
              name: {{ include "tidegate.fullname" $ }}-jobs
              items:
                {{- range $name, $_ := . }}
                - {key: {{ $name }}.yaml, path: jobs/{{ $name }}.yaml}
                {{- end }}
      {{- else }}
      configMap: {name: {{ include "tidegate.fullname" $ }}-policies}
      {{- end }}
    - name: keys
      secret: {secretName: {{ $.Values.keys.existingSecret | quote }}}
    - name: tmp
      emptyDir: {}
  {{- with $.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
