{{/* What the operator may do with Topics: read them, and write what became of them. */}}
{{- define "earshot.topicRules" -}}
- {apiGroups: [earshot.dev], resources: [topics], verbs: [get, list, watch]}
- {apiGroups: [earshot.dev], resources: [topics/status], verbs: [update, patch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
{{- end -}}

{{/* Gives the operator a role; for the whole cluster where no namespace is given. */}}
{{- define "earshot.operatorBinding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ if .namespace }}RoleBinding{{ else }}ClusterRoleBinding{{ end }}
metadata:
  name: {{ .role }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "earshot.labels" (dict "root" .root "component" "operator") | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: {{ .kind }}, name: {{ .role | quote }}}
subjects:
- {kind: ServiceAccount, name: {{ include "earshot.fullname" .root }}-operator, namespace: {{ .root.Release.Namespace }}}
{{- end -}}
