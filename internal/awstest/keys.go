package awstest

import (
	"crypto/md5" //nolint:gosec // EC2's fingerprint of an RSA key is one
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// keyPair is the public half of one.
type keyPair struct {
	id, name, kind, fingerprint string
	public                      string
	tags                        map[string]string
	created                     time.Time
	hidden                      int
}

func noKeyPair(name string) *failure {
	return refuse(http.StatusBadRequest, "InvalidKeyPair.NotFound", "The key pair '%s' does not exist", name)
}

// keyPair is one that the caller can see by now, by its name.
func (r *region) keyPair(name string) *keyPair {
	found := r.keyPairs[name]
	if found != nil && found.hidden > 0 {
		found.hidden--
		return nil
	}
	return found
}

func (s *Server) importKeyPair(c *call) (object, *failure) {
	name := text(c.in["KeyName"])
	material, _ := c.in["PublicKeyMaterial"].([]byte)
	made := &keyPair{name: name, public: strings.TrimSpace(string(material)), tags: map[string]string{}, created: s.opts.Now().UTC(), hidden: s.opts.Lag}
	switch {
	case name == "" || len(name) > 255 || !printable(name):
		return badRequest("InvalidParameterValue", "Invalid value '%s' for keyName. Character sets beyond ASCII are not supported, nor more than 255 characters.", name)
	case c.region.keyPairs[name] != nil:
		return badRequest("InvalidKeyPair.Duplicate", "The keypair already exists")
	case !made.read(material):
		return badRequest("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	}
	if refused := tagKinds(c.in, map[string]map[string]string{"key-pair": made.tags}); refused != nil {
		return nil, refused
	}
	made.id = s.newID("key")
	c.region.keyPairs[name] = made
	return object{"KeyPairId": made.id, "KeyName": name, "KeyFingerprint": made.fingerprint, "Tags": showTags(made.tags)}, nil
}

func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

// read takes the key's kind and fingerprint: of what EC2 takes, RSA and
// Ed25519.
func (k *keyPair) read(material []byte) bool {
	key, _, _, rest, err := ssh.ParseAuthorizedKey(material)
	if err != nil || len(strings.TrimSpace(string(rest))) > 0 {
		return false
	}
	switch key.Type() {
	case ssh.KeyAlgoED25519:
		digest := sha256.Sum256(key.Marshal())
		k.kind, k.fingerprint = "ed25519", base64.StdEncoding.EncodeToString(digest[:])
		return true
	case ssh.KeyAlgoRSA:
		inner, ok := key.(ssh.CryptoPublicKey)
		if !ok {
			return false
		}
		der, err := x509.MarshalPKIXPublicKey(inner.CryptoPublicKey())
		if err != nil {
			return false
		}
		digest := md5.Sum(der) //nolint:gosec // as above
		var pairs []string
		for _, each := range digest {
			pairs = append(pairs, hex.EncodeToString([]byte{each}))
		}
		k.kind, k.fingerprint = "rsa", strings.Join(pairs, ":")
		return true
	}
	return false
}

func (s *Server) describeKeyPairs(c *call) (object, *failure) {
	names, ids := texts(c.in["KeyNames"]), texts(c.in["KeyPairIds"])
	explicit, found := len(names)+len(ids) > 0, map[string]bool{}
	for _, each := range c.region.keyPairs {
		if (slices.Contains(names, each.name) || slices.Contains(ids, each.id)) && c.region.keyPair(each.name) != nil {
			found[each.name], found[each.id] = true, true
		}
	}
	for _, each := range slices.Concat(names, ids) {
		if !found[each] {
			return nil, noKeyPair(each)
		}
	}
	var shown []any
	for _, name := range slices.Sorted(maps.Keys(c.region.keyPairs)) {
		each := c.region.keyPairs[name]
		if explicit && !found[name] {
			continue
		}
		ok, refused := matches(c.in["Filters"], each.tags, map[string][]string{"key-pair-id": {each.id}, "key-name": {name}, "fingerprint": {each.fingerprint}})
		if refused != nil {
			return nil, refused
		}
		if !ok || !explicit && c.region.keyPair(name) == nil {
			continue
		}
		one := object{"KeyPairId": each.id, "KeyName": name, "KeyType": each.kind, "KeyFingerprint": each.fingerprint, "CreateTime": each.created, "Tags": showTags(each.tags)}
		if truth(c.in["IncludePublicKey"]) {
			one["PublicKey"] = each.public
		}
		shown = append(shown, one)
	}
	return object{"KeyPairs": orNone(shown)}, nil
}

// deleteKeyPair answers the same whether there was such a key or not.
func (s *Server) deleteKeyPair(c *call) (object, *failure) {
	name, id := text(c.in["KeyName"]), text(c.in["KeyPairId"])
	if name == "" && id == "" {
		return badRequest("MissingParameter", "The request must contain the parameter KeyName or KeyPairId")
	}
	out := object{"Return": true}
	for _, each := range c.region.keyPairs {
		if each.name == name || each.id == id {
			out["KeyPairId"] = each.id
			delete(c.region.keyPairs, each.name)
		}
	}
	return out, nil
}
