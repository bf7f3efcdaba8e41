package main

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

const errorsKept = 10

// tenure is a queue in the hands of a consumer.
type tenure struct {
	consumer string
	queue    int
}

// ledger is what one group has consumed, checked against the plan: every
// message unaltered and none missing; if ordered, in order within each queue that
// a consumer has, and in order of first sight within each sharding key. Repeats
// are counted.
type ledger struct {
	plan     *plan
	progress *progress
	ordered  bool

	mutex      sync.Mutex
	seen       []bool
	byConsumer map[string]int
	offsets    map[tenure]int64
	shards     map[string]int
	distinct   int
	duplicates int
	errors     []string
	errorCount int
}

func newLedger(p *plan, pr *progress, ordered bool) *ledger {
	return &ledger{
		plan: p, progress: pr, ordered: ordered,
		seen:       make([]bool, p.messages),
		byConsumer: map[string]int{},
		offsets:    map[tenure]int64{},
		shards:     map[string]int{},
	}
}

// accept takes down one delivery; any number of goroutines may call it.
func (l *ledger) accept(consumer string, message *primitive.MessageExt) {
	i, known := l.plan.indexOf(message.GetKeys())
	fault := fmt.Sprintf("unknown keys %q", message.GetKeys())
	if known {
		fault = l.alteration(i, message)
	}

	l.mutex.Lock()
	l.byConsumer[consumer]++
	if fault != "" {
		l.fault(fault)
	}
	if l.ordered {
		l.checkQueueOrder(consumer, message)
	}
	switch {
	case known && l.seen[i]:
		l.duplicates++
	case known:
		l.seen[i] = true
		l.distinct++
		l.checkShardOrder(i)
	}
	l.mutex.Unlock()
	l.progress.step()
}

// alteration says how message i differs from what was sent, if it does.
func (l *ledger) alteration(i int, message *primitive.MessageExt) string {
	difference := ""
	if sha256.Sum256(message.Body) != l.plan.digests[i] {
		difference += " body"
	}
	if message.GetTags() != l.plan.tag(i) {
		difference += " tags=" + message.GetTags()
	}
	if got := message.GetProperty("greeting"); got != l.plan.greeting(i) {
		difference += " greeting=" + got
	}
	if message.GetShardingKey() != l.plan.shard(i) {
		difference += " shard=" + message.GetShardingKey()
	}
	if difference == "" {
		return ""
	}
	return fmt.Sprintf("message %d was altered:%s", i, difference)
}

func (l *ledger) checkQueueOrder(consumer string, message *primitive.MessageExt) {
	of, offset := tenure{consumer, message.Queue.QueueId}, message.QueueOffset
	last, exists := l.offsets[of]
	l.offsets[of] = offset
	if exists && offset <= last {
		l.fault(fmt.Sprintf("queue %d: %s saw offset %d after %d", of.queue, consumer, offset, last))
	}
}

func (l *ledger) checkShardOrder(i int) {
	shard := l.plan.shard(i)
	if !l.ordered || shard == "" {
		return
	}
	last, exists := l.shards[shard]
	l.shards[shard] = i
	if exists && i < last {
		l.fault(fmt.Sprintf("%s: message %d came after %d", shard, i, last))
	}
}

func (l *ledger) fault(fault string) {
	l.errorCount++
	if len(l.errors) < errorsKept {
		l.errors = append(l.errors, fault)
	}
}

func (l *ledger) hasSeen(count int) func() bool {
	return func() bool {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		return l.distinct >= count
	}
}

func (l *ledger) complete() bool { return l.hasSeen(l.plan.messages)() }

func (l *ledger) hasSeenBy(consumer string, count int) func() bool {
	return func() bool { return l.seenBy(consumer) >= count }
}

func (l *ledger) seenBy(consumer string) int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.byConsumer[consumer]
}

// verify fails unless every message came unaltered, in order, and at most so
// many of them again.
func (l *ledger) verify(duplicatesAllowed int) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if missing := l.plan.messages - l.distinct; missing > 0 {
		l.fault(fmt.Sprintf("%d messages missing", missing))
	}
	if l.duplicates > duplicatesAllowed {
		l.fault(fmt.Sprintf("%d duplicates, allowed %d", l.duplicates, duplicatesAllowed))
	}
	if l.errorCount > 0 {
		return fmt.Errorf("%d faults:\n  %s", l.errorCount, strings.Join(l.errors, "\n  "))
	}
	return nil
}
