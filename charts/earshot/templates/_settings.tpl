{{/* The settings file of all processes (docs/config.md): each reads what is its own. No secret stands in it. */}}
{{- define "earshot.settings" -}}
{{- $name := include "earshot.fullname" . -}}
{{- $domain := printf "%s.svc.%s." .Release.Namespace .Values.clusterDomain -}}
{{- $settings := dict
  "release" $name
  "namespace" .Release.Namespace
  "store" "Kubernetes"
  "host" .Values.bindAddress
  "port" 8080
  "grpcPort" 8081
  "internalPort" 7001
  "probesPort" 7002
  "peers" (printf "dns:operator=%s-operator.%s:7001,router=%s-router.%s:7001" $name $domain $name $domain)
  "peerAudience" (include "earshot.peerDomain" .)
  "audience" .Values.auth.audience
  "anonymous" .Values.auth.anonymous
  "serviceAccountTokens" .Values.auth.serviceAccountTokens
  "httpTopicsNamespace" .Values.httpTopics.namespace
  "httpTopicsCreate" .Values.httpTopics.create
  "httpTopicsMax" (int64 .Values.httpTopics.max)
  "watchNamespaces" .Values.watch.namespaces
  "presenceStore" (ternary "Auto" "None" (ne (include "earshot.redis" .) ""))
-}}
{{- if include "earshot.redis" . -}}
{{- $_ := set $settings "redisMode" .Values.redis.mode -}}
{{- $_ := set $settings "redisPrefix" (include "earshot.redisPrefix" .) -}}
{{- if .Values.redis.inChart.enabled -}}
{{- $_ := set $settings "redisUrl" (printf "redis://%s-redis.%s:6379" $name $domain) -}}
{{- else if .Values.redis.url -}}
{{- $_ := set $settings "redisUrl" .Values.redis.url -}}
{{- end -}}
{{- with .Values.redis.sentinelMaster -}}
{{- $_ := set $settings "redisSentinelMaster" . -}}
{{- end -}}
{{- with .Values.redis.username -}}
{{- $_ := set $settings "redisUsername" . -}}
{{- end -}}
{{- if .Values.redis.ca.existingSecret -}}
{{- $_ := set $settings "redisCaFile" (printf "/etc/earshot/redis-ca/%s" .Values.redis.ca.key) -}}
{{- end -}}
{{- end -}}
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

{{/* Where member lists are kept: "inChart", "url", "secret", or "" for nowhere. */}}
{{- define "earshot.redis" -}}
{{- with .Values.redis -}}
{{- if and (or .urlKey .passwordKey .sentinelPasswordKey) (not .existingSecret) -}}
{{- fail "redis.existingSecret must name the Secret that redis.urlKey, redis.passwordKey and redis.sentinelPasswordKey are keys of" -}}
{{- end -}}
{{- if contains "@" .url -}}
{{- fail "redis.url must hold no user and no password: redis.username, redis.passwordKey and redis.urlKey are for these" -}}
{{- end -}}
{{- if and .url .urlKey -}}
{{- fail "redis.url and redis.urlKey exclude each other" -}}
{{- end -}}
{{- if and (eq .mode "Sentinel") (not .sentinelMaster) -}}
{{- fail "redis.sentinelMaster must be set with redis.mode Sentinel" -}}
{{- end -}}
{{- if .inChart.enabled -}}inChart{{- else if .url -}}url{{- else if .urlKey -}}secret{{- end -}}
{{- end -}}
{{- end -}}

{{/* A prefix has at most 64 characters. */}}
{{- define "earshot.redisPrefix" -}}
{{- $whole := default (printf "%s:%s" .Release.Namespace (include "earshot.fullname" .)) .Values.redis.prefix -}}
{{- if gt (len $whole) 64 -}}{{- sha256sum $whole -}}{{- else -}}{{- $whole -}}{{- end -}}
{{- end -}}
