{{/* Names and labels. Everything is named after the installation: the chart's fullname. */}}

{{- define "earshot.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "earshot.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whom processes of this installation prove themselves to, and the end of their names in certificates. */}}
{{- define "earshot.peerDomain" -}}
{{- printf "%s.%s.earshot.internal" (include "earshot.fullname" .) .Release.Namespace -}}
{{- end -}}

{{/* Labels by which a component is selected; they never change. Takes (dict "root" $ "component" "router"). */}}
{{- define "earshot.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ include "earshot.fullname" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of every object; of pods too, where the version is left to the image. */}}
{{- define "earshot.labels" -}}
{{ include "earshot.selector" . }}
app.kubernetes.io/part-of: earshot
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Whether the operator makes the certificates: "true" or "". */}}
{{- define "earshot.ownCertificates" -}}
{{- with .Values.tls.existingSecrets -}}
{{- if not (or .operator .router .gateway) -}}
true
{{- else if not (and .operator .router .gateway) -}}
{{- fail "tls.existingSecrets must name all three Secrets, or none (the operator then makes them)" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "earshot.tlsSecret" -}}
{{- default (printf "%s-%s-tls" (include "earshot.fullname" .root) .component) (get .root.Values.tls.existingSecrets .component) -}}
{{- end -}}
