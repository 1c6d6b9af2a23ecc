//go:build tools

// Package tools names the etcd server that hack/kube-tools builds, so that go.mod and go.sum pin it
// and everything it is made of. A module of its own: Kubernetes asks for other versions.
package tools

import _ "go.etcd.io/etcd/server/v3"
