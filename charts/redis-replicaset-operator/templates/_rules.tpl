{{/*
What the operator may do where it looks after instances. The same rules in a ClusterRole (cluster mode) and in each
namespace's Role (namespaced mode).
*/}}
{{- define "rrs.instanceRules" -}}
# The resource itself. It carries no finalizer: what an instance owns goes by owner references. `update` of the
# finalizers subresource is what the API server asks for before it lets an owner reference block the owner's deletion.
- apiGroups: [redis.replicaset.dev]
  resources: [redisreplicasets]
  verbs: [get, list, watch, update, patch]
- apiGroups: [redis.replicaset.dev]
  resources: [redisreplicasets/status]
  verbs: [get, update, patch]
- apiGroups: [redis.replicaset.dev]
  resources: [redisreplicasets/finalizers]
  verbs: [update]
# What an instance is made of.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, update, patch, delete]
# Passwords. They are read and written by name only: without list and watch the operator cannot enumerate the Secrets of
# others. (RBAC cannot tie `create` to a name, and the names are the users' choice, so resourceNames does not help.)
# Deleting is left to the garbage collector.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
# Members: role labels, and restarts in order.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch, delete]
# Volumes: growing them, and noting whose data a kept one holds. Never deleting: the StatefulSet's retention policy does.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch]
# Every decision is an Event.
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
