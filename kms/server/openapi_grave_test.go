package server_test

// askVolumeDeleted deletes and undeletes a volume, and destroys it.
func askVolumeDeleted(ask func(method, target, body string, want int), uuid string) {
	ask("POST", "/v1/volume/undelete"+uuid, "", 404)
	ask("POST", "/v1/volume/delete"+uuid+"&now=x", "", 400)
	ask("POST", "/v1/volume/delete"+uuid, "", 200)
	ask("POST", "/v1/volume/delete"+uuid, "", 409)
	ask("GET", "/v1/volume"+uuid, "", 200)
	ask("POST", "/v1/volume/undelete"+uuid, "", 200)
	ask("POST", "/v1/volume/delete"+uuid+"&now=true", "", 200)
	ask("POST", "/v1/volume/delete"+uuid, "", 404)
}

// askRetired retires what can be given back, a signing key among it.
func askRetired(ask func(method, target, body string, want int), pin string) {
	ask("POST", "/v1/trust/undelete?key="+pin, "", 200)
	ask("POST", "/v1/trust/retire?key="+pin+"&now=true", "", 200)
	ask("POST", "/v1/trust/undelete?key="+pin, "", 404)
	key := "?key=k8s/default&version=1"
	ask("POST", "/v1/keys/retire"+key, "", 200)
	ask("GET", "/v1/keys?key=k8s/default", "", 200)
	ask("POST", "/v1/keys/undelete"+key, "", 200)
	ask("POST", "/v1/keys/retire"+key+"&now=true", "", 200)
	ask("POST", "/v1/keys/undelete"+key, "", 404)
	ask("POST", "/v1/keys/undelete?key=k8s/default&version=x", "", 400)
}
