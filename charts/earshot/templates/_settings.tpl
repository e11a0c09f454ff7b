{{/* The settings file of all processes (docs/config.md): each reads what is its own. No secret stands in it. */}}
{{- define "earshot.settings" -}}
{{- $name := include "earshot.fullname" . -}}
{{- $domain := printf "%s.svc.%s." .Release.Namespace .Values.clusterDomain -}}
{{- $settings := dict
  "release" $name
  "namespace" .Release.Namespace
  "store" "Kubernetes"
  "host" "0.0.0.0"
  "port" 8080
  "grpcPort" 8081
  "internalPort" 7001
  "probesPort" 7002
  "peers" (printf "dns:operator=%s-operator.%s:7001,router=%s-router.%s:7001" $name $domain $name $domain)
  "peerTokenFile" "/var/run/secrets/earshot/token"
  "peerAudience" (include "earshot.peerDomain" .)
  "audience" .Values.auth.audience
  "anonymous" .Values.auth.anonymous
  "serviceAccountTokens" .Values.auth.serviceAccountTokens
  "httpTopicsNamespace" .Values.httpTopics.namespace
  "httpTopicsCreate" .Values.httpTopics.create
  "httpTopicsMax" (int64 .Values.httpTopics.max)
  "watchNamespaces" .Values.watch.namespaces
  "presenceStore" "None"
-}}
{{- range $setting, $value := .Values.config -}}
{{- $_ := set $settings $setting $value -}}
{{- end -}}
{{- with .Values.auth.issuers -}}
{{- $issuers := list -}}
{{- range $index, $issuer := . -}}
{{- $entry := omit $issuer "existingSecret" "key" -}}
{{- if $issuer.existingSecret -}}
{{- $_ := set $entry "secretFile" (printf "/etc/earshot/issuers/%d/%s" $index (default "secret" $issuer.key)) -}}
{{- end -}}
{{- $issuers = append $issuers $entry -}}
{{- end -}}
{{- $_ := set $settings "issuers" $issuers -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}
