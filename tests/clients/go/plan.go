package main

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

const (
	shards    = 16
	chunkSize = 64
)

// mode is a way to send a message.
type mode int

const (
	modeSync mode = iota
	modeAsync
	modeOneWay
	modeBatch
	modeSelected
	modes
)

var modeNames = [modes]string{"sync", "async", "one-way", "batch", "selected queue"}

// plan holds the messages of one run, a pure function of the seed: message i
// always has the same mode, body, tag, keys and properties, so that sender and
// checker never need to talk.
//
// In every mode the first bodies run through all powers of two up to the
// largest size, that size included. The rest are log-uniform, three in four of
// them below a 64th of the largest: about 20 KB on average when that is 1 MiB.
// Half of the bodies compress well, half not at all. The first body of a batch
// is empty; elsewhere the smallest has one byte, for although the client lets
// an empty one through, Apache's broker answers it with code 1.
type plan struct {
	topic        string
	messages     int
	maxBody      int
	seed         uint64
	specialSizes []int
	digests      [][sha256.Size]byte
}

func newPlan(topic string, messages, maxBody int, seed uint64) *plan {
	p := &plan{topic: topic, messages: messages, maxBody: maxBody, seed: seed}
	for size := 1; size < maxBody; size *= 2 {
		p.specialSizes = append(p.specialSizes, size)
	}
	p.specialSizes = append(p.specialSizes, maxBody)
	for i := range messages {
		p.digests = append(p.digests, sha256.Sum256(p.body(i)))
	}
	return p
}

func (p *plan) mode(i int) mode { return mode(i) % modes }

func (p *plan) body(i int) []byte {
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("%d/%d", p.seed, i))
	source := rand.NewChaCha8(seed)
	random := rand.New(source)
	body := make([]byte, p.size(i, random))
	if random.IntN(2) == 0 {
		source.Read(body)
		return body
	}
	var chunk [chunkSize]byte
	source.Read(chunk[:])
	for at := 0; at < len(body); at += chunkSize {
		copy(body[at:], chunk[:])
	}
	return body
}

func (p *plan) size(i int, random *rand.Rand) int {
	if i == int(modeBatch) {
		return 0
	}
	nthOfMode := i / int(modes)
	if p.mode(i) == modeBatch {
		nthOfMode--
	}
	if nthOfMode < len(p.specialSizes) {
		return p.specialSizes[nthOfMode]
	}
	largest := float64(p.maxBody)
	if random.IntN(4) != 0 {
		largest = max(1, largest/64)
	}
	return int(math.Pow(largest, random.Float64()))
}

func (p *plan) tag(i int) string { return fmt.Sprintf("tag-%d", i%7) }

// keys gives two keys: the first names the message, the second a group of
// messages.
func (p *plan) keys(i int) []string {
	return []string{fmt.Sprintf("message-%d", i), fmt.Sprintf("group-%d", i%100)}
}

func (p *plan) greeting(i int) string { return fmt.Sprintf("héllo-世界-🚀-%d", i) }

// shard is the sharding key; only messages of modeSelected have one.
func (p *plan) shard(i int) string {
	if p.mode(i) != modeSelected {
		return ""
	}
	return fmt.Sprintf("shard-%d", i/int(modes)%shards)
}

// indexOf is the number of the message that has these keys.
func (p *plan) indexOf(keys string) (int, bool) {
	var i, group int
	if n, err := fmt.Sscanf(keys, "message-%d group-%d", &i, &group); n != 2 || err != nil {
		return 0, false
	}
	return i, i >= 0 && i < p.messages && keys == fmt.Sprintf("message-%d group-%d", i, i%100)
}

func (p *plan) message(i int) *primitive.Message {
	message := primitive.NewMessage(p.topic, p.body(i)).WithTag(p.tag(i)).WithKeys(p.keys(i))
	message.WithProperty("greeting", p.greeting(i))
	if shard := p.shard(i); shard != "" {
		message.WithShardingKey(shard)
	}
	return message
}
