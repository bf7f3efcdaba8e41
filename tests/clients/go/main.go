// Checks a cluster end to end with the official Go client, unmodified: sends in
// every mode that it offers while a cluster group consumes and is rebalanced
// three times and an ordered group consumes and is handed over once, then lets
// a broadcast group read it all again. Exits 0 only if every message came to
// each as it was sent.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const (
	leastMessages = 100

	// Rebalances may repeat so many messages, or a fifth of all if that is more.
	fewDuplicates = 200
)

// run is one run of the program.
type run struct {
	namesrv  string
	plan     *plan
	progress *progress

	// members tells how many members of the group each cluster consumer saw at
	// its latest rebalance.
	members sync.Map
}

func main() {
	namesrv := flag.String("namesrv", "127.0.0.1:9876", "address of the name server")
	messages := flag.Int("messages", 10_000, "messages to send")
	maxBody := flag.Int("max-body", 1<<20, "largest body in bytes")
	seed := flag.Uint64("seed", 1, "seed of the bodies")
	prefix := flag.String("topic-prefix", "clients-go", "start of the names of topic and groups")
	flag.Parse()
	rlog.SetLogLevel("fatal")

	if *messages < leastMessages {
		fmt.Fprintf(os.Stderr, "-messages must be %d or more\n", leastMessages)
		os.Exit(2)
	}
	r := &run{namesrv: *namesrv, plan: newPlan(*prefix, *messages, *maxBody, *seed), progress: newProgress()}
	for _, phase := range []func() error{r.sendAndConsume, r.broadcast} {
		if err := phase(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// sendAndConsume drives the cluster group: the second consumer joins when a
// third is consumed, leaves when it has had some, and joins again; the sender
// is held back at each step so that there is something left to consume after
// it. It does not leave at once: Apache's broker, when it comes to a heartbeat
// only after the connection is closed, keeps the dead member for two minutes.
// The ordered group runs beside it.
func (r *run) sendAndConsume() error {
	start := time.Now()
	cluster, ordered := newLedger(r.plan, r.progress, false), newLedger(r.plan, r.progress, true)
	sender, err := newSender(r.plan, r.progress, r.namesrv)
	if err != nil {
		return err
	}
	sender.open(r.plan.messages / 2)
	if err := sender.send(0, 1); err != nil { // Creates the topic.
		return err
	}
	one, err := r.startCluster("one", "one", cluster)
	if err != nil {
		return err
	}
	sending := make(chan struct{})
	go func() {
		defer close(sending)
		if err := sender.send(1, r.plan.messages); err != nil {
			r.progress.fail(err)
		}
	}()
	handingOver := make(chan error, 1)
	go func() { handingOver <- r.handOver(ordered) }()

	var two rocketmq.PushConsumer
	startTwo := func(name string) func() error {
		return func() (err error) {
			two, err = r.startCluster("two", name, cluster)
			return err
		}
	}
	open := func(limit int) func() error {
		return func() error {
			sender.open(limit)
			return nil
		}
	}
	n := r.plan.messages
	steps := []struct {
		what  string
		until func() bool
		then  func() error
	}{
		{"a third of the messages", cluster.hasSeen(n / 3), startTwo("two")},
		{"a group of two", r.see(2, "one", "two"), open(n / 4 * 3)},
		{"messages of the second consumer", cluster.hasSeenBy("two", n/20), func() error { return two.Shutdown() }},
		{"a group of one", r.see(1, "one"), startTwo("two again")},
		{"a group of two again", r.see(2, "one", "two again"), open(n)},
		{"all messages", func() bool { return cluster.complete() && cluster.seenBy("two again") > 0 },
			func() error { return two.Shutdown() }},
	}
	for _, step := range steps {
		if err := r.progress.await(step.what, step.until); err != nil {
			return err
		}
		if err := step.then(); err != nil {
			return err
		}
	}
	<-sending
	sender.report()
	if err := cluster.verify(max(fewDuplicates, n/5)); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	fmt.Printf("cluster: %d messages unaltered through 3 rebalances (consumer one %d, two %d + %d), %d duplicates, %.1f s\n",
		n, cluster.seenBy("one"), cluster.seenBy("two"), cluster.seenBy("two again"),
		cluster.duplicates, time.Since(start).Seconds())

	if err := <-handingOver; err != nil {
		return err
	}
	if err := ordered.verify(max(fewDuplicates, n/5)); err != nil {
		return fmt.Errorf("ordered: %w", err)
	}
	fmt.Printf("ordered: %d messages unaltered and in order through a hand-over (consumer one %d, two %d), %d duplicates, %.1f s\n",
		n, ordered.seenBy("one"), ordered.seenBy("two"), ordered.duplicates, time.Since(start).Seconds())

	if err := one.Shutdown(); err != nil {
		return err
	}
	return sender.producer.Shutdown()
}

// handOver drives the ordered group, whose first consumer stops for the second
// to go on. The two never overlap: this client does not unlock a queue that a
// rebalance takes from it, so that the other would wait a minute for the lock
// to expire.
func (r *run) handOver(l *ledger) error {
	steps := []struct {
		consumer string
		until    int
	}{{"one", r.plan.messages / 3}, {"two", r.plan.messages}}
	for _, step := range steps {
		c, err := r.start("ordered", "ordered-"+step.consumer, step.consumer, l, consumer.WithConsumerOrder(true))
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%d messages in order", step.until)
		if err := r.progress.await(what, l.hasSeen(step.until)); err != nil {
			return err
		}
		if err := c.Shutdown(); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) broadcast() error {
	start := time.Now()
	var ledgers [2]*ledger
	var consumers [2]rocketmq.PushConsumer
	for i := range ledgers {
		name := fmt.Sprintf("broadcast-%d", i)
		ledgers[i] = newLedger(r.plan, r.progress, false)
		var err error
		consumers[i], err = r.start("broadcast", name, name, ledgers[i], consumer.WithConsumerModel(consumer.BroadCasting))
		if err != nil {
			return err
		}
	}
	err := r.progress.await("all messages, twice", func() bool { return ledgers[0].complete() && ledgers[1].complete() })
	if err != nil {
		return err
	}
	for i, c := range consumers {
		if err := c.Shutdown(); err != nil {
			return err
		}
		if err := ledgers[i].verify(0); err != nil {
			return fmt.Errorf("broadcast: %w", err)
		}
	}
	fmt.Printf("broadcast: %d messages unaltered and once to each of 2 consumers, %.1f s\n",
		r.plan.messages, time.Since(start).Seconds())
	return nil
}

// see is the condition that each of the consumers sees so many members.
func (r *run) see(count int, consumers ...string) func() bool {
	return func() bool {
		for _, name := range consumers {
			if seen, ok := r.members.Load(name); !ok || seen != count {
				return false
			}
		}
		return true
	}
}

func (r *run) startCluster(instance, name string, l *ledger) (rocketmq.PushConsumer, error) {
	strategy := func(group, client string, queues []*primitive.MessageQueue, clients []string) []*primitive.MessageQueue {
		if len(queues) > 0 && queues[0].Topic == r.plan.topic {
			r.members.Store(name, len(clients))
			r.progress.step()
		}
		return consumer.AllocateByAveragely(group, client, queues, clients)
	}
	return r.start("cluster", instance, name, l, consumer.WithStrategy(strategy))
}

func (r *run) start(group, instance, name string, l *ledger, options ...consumer.Option) (rocketmq.PushConsumer, error) {
	made, err := rocketmq.NewPushConsumer(append(options,
		consumer.WithNameServer(primitive.NamesrvAddr{r.namesrv}),
		consumer.WithGroupName(r.plan.topic+"-"+group),
		consumer.WithInstance(instance),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithPullThresholdSizeForQueue(16),
	)...)
	if err != nil {
		return nil, err
	}
	err = made.Subscribe(r.plan.topic, consumer.MessageSelector{},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, message := range messages {
				l.accept(name, message)
			}
			return consumer.ConsumeSuccess, nil
		})
	if err != nil {
		return nil, err
	}
	return made, made.Start()
}
