{{/* A PodDisruptionBudget. Pods that are not ready may always go: they serve nobody, and could hold up a node's drain for ever. */}}
{{- define "earshot.disruptionBudget" -}}
{{- if .values.podDisruptionBudget.enabled }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "earshot.fullname" .root }}-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "earshot.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "earshot.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{/* A HorizontalPodAutoscaler: up at once, down slowly, a pod at a time, because every pod that goes moves somebody. */}}
{{- define "earshot.autoscaler" -}}
{{- with .values.autoscaling }}
{{- if .enabled }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
{{- fail (printf "%s.autoscaling.minReplicas is %d: it must not be more than maxReplicas, which is %d" $.component (int .minReplicas) (int .maxReplicas)) }}
{{- end }}
{{- if not (or .targetCPU .metrics) }}
{{- fail (printf "%s.autoscaling needs targetCPU or metrics to decide by" $.component) }}
{{- end }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "earshot.fullname" $.root }}-{{ $.component }}
  namespace: {{ $.root.Release.Namespace }}
  labels:
    {{- include "earshot.labels" $ | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "earshot.fullname" $.root }}-{{ $.component }}}
  minReplicas: {{ int .minReplicas }}
  maxReplicas: {{ int .maxReplicas }}
  metrics:
  {{- if .targetCPU }}
  - type: Resource
    resource:
      name: cpu
      target: {type: AverageValue, averageValue: {{ .targetCPU }}}
  {{- end }}
  {{- with .metrics }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  behavior:
    scaleDown:
      stabilizationWindowSeconds: {{ int .scaleDownStabilizationSeconds }}
      policies:
      - {type: Pods, value: 1, periodSeconds: 300}
{{- end }}
{{- end }}
{{- end -}}
