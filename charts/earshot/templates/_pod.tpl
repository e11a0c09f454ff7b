{{/* What the pods of every component have in common. Each takes (dict "root" $ "component" "router" "values" .Values.router). */}}

{{- define "earshot.podMetadata" -}}
labels:
  {{- include "earshot.selector" . | nindent 2 }}
  app.kubernetes.io/part-of: earshot
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # Settings are read at the start: other ones roll the pods.
  checksum/settings: {{ include "earshot.settings" .root | sha256sum }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "earshot.podSettings" -}}
serviceAccountName: {{ include "earshot.fullname" .root }}-{{ .component }}
# Services of this namespace would become variables that look like settings.
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  seccompProfile: {type: RuntimeDefault}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- if .values.topologySpreadConstraints }}
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "earshot.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
  {{- end }}
terminationGracePeriodSeconds: {{ include "earshot.grace" . }}
{{- end -}}

{{/* What comes before the kill has to have its time. */}}
{{- define "earshot.grace" -}}
{{- $needed := add .values.preStopSeconds .values.drainSeconds -}}
{{- if le (int .values.terminationGracePeriodSeconds) (int $needed) -}}
{{- fail (printf "%s.terminationGracePeriodSeconds is %d: it must be more than preStopSeconds and drainSeconds together, which are %d" .component (int .values.terminationGracePeriodSeconds) $needed) -}}
{{- end -}}
{{- int .values.terminationGracePeriodSeconds -}}
{{- end -}}

{{/* Image, command, rights and signs of life of the one container. */}}
{{- define "earshot.container" -}}
name: {{ .component }}
image: {{ include "earshot.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [node]
args: ["--max-old-space-size-percentage={{ int .values.heapPercentage }}", {{ .component }}/main.ts]
resources:
  {{- toYaml .values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
startupProbe:
  httpGet: {path: /healthz, port: probes}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 120
# A process that is busy is not dead: half a minute without an answer is.
livenessProbe:
  httpGet: {path: /healthz, port: probes}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: probes}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 3
{{- if .values.preStopSeconds }}
lifecycle:
  preStop:
    sleep: {seconds: {{ int .values.preStopSeconds }}}
{{- end }}
{{- end -}}

{{/* Who and where a process is; everything else is in the settings file, but for secrets. */}}
{{- define "earshot.environment" -}}
- {name: EARSHOT_CONFIG, value: /etc/earshot/settings/settings.yaml}
- {name: EARSHOT_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: EARSHOT_NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
- {name: EARSHOT_INTERNAL_HOST, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: EARSHOT_DRAIN, value: {{ int .values.drainSeconds }}s}
{{- if ne .component "operator" }}
# Operators are called by the others, and call none.
- {name: EARSHOT_PEER_TOKEN_FILE, value: /var/run/secrets/earshot/token}
{{- end }}
{{- if and (ne .component "operator") .root.Values.auth.secret.existingSecret }}
- name: EARSHOT_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.auth.secret.existingSecret }}
      key: {{ .root.Values.auth.secret.key }}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Files that a process reads, and where it finds them: two lists that belong together. */}}
{{- define "earshot.volumeMounts" -}}
- {name: settings, mountPath: /etc/earshot/settings, readOnly: true}
{{- if or (ne .component "operator") (not (include "earshot.ownCertificates" .root)) }}
- {name: tls, mountPath: /etc/earshot/tls, readOnly: true}
{{- end }}
{{- if ne .component "operator" }}
- {name: peer-token, mountPath: /var/run/secrets/earshot, readOnly: true}
{{- if .root.Values.publish.tls.secretName }}
- {name: public-tls, mountPath: /etc/earshot/public-tls, readOnly: true}
{{- end }}
{{- range $index, $issuer := .root.Values.auth.issuers }}
{{- if $issuer.existingSecret }}
- {name: issuer-{{ $index }}, mountPath: /etc/earshot/issuers/{{ $index }}, readOnly: true}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "earshot.volumes" -}}
- name: settings
  configMap: {name: {{ include "earshot.fullname" .root }}-settings}
{{- if or (ne .component "operator") (not (include "earshot.ownCertificates" .root)) }}
- name: tls
  secret: {secretName: {{ include "earshot.tlsSecret" . }}, defaultMode: 0440}
{{- end }}
{{- if ne .component "operator" }}
- name: peer-token
  projected:
    sources:
    - serviceAccountToken:
        path: token
        audience: {{ include "earshot.peerDomain" .root }}
        {{- /* A kubelet asks for the next one at 80 % of this: with the API server away, five hours are left at least. */}}
        expirationSeconds: 86400
{{- if .root.Values.publish.tls.secretName }}
- name: public-tls
  secret: {secretName: {{ .root.Values.publish.tls.secretName }}, defaultMode: 0440}
{{- end }}
{{- range $index, $issuer := .root.Values.auth.issuers }}
{{- if $issuer.existingSecret }}
- name: issuer-{{ $index }}
  secret: {secretName: {{ $issuer.existingSecret }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
