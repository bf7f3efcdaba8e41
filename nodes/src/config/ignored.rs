//! Keys of Apache's configuration classes that have no effect here. They are known, so that an
//! existing file is read with a warning for each instead of a doubt about its spelling.

/// Of the broker.
pub const BROKER: &str = "\
    accessKey allowRecallWhenBrokerNotWriteable appendAckAsync appendCkAsync asyncSendEnable \
    autoDeleteUnusedStats bridge2RemoteBroker broadcastOffsetExpireMaxSecond \
    broadcastOffsetExpireSecond brokerConfigPath brokerElectionPriority brokerFastFailureEnable \
    brokerTopicEnable channelExpiredCheckInterval checkSyncStateSetPeriod \
    clearRetryTopicWhenDeleteTopic \
    clientManageThreadPoolNums clientManagerThreadPoolQueueCapacity clusterTopicEnable \
    coldCtrStrategyEnable coldDataFlowControlEnable commercialBaseCount commercialBigCount \
    commercialEnable commercialSizePerMsg commercialTimerCount commercialTransCount \
    compatibleWithOldNameSrv compressedRegister configBlackList configManagerVersion \
    consumerFallbehindThreshold consumerManageThreadPoolNums \
    consumerManagerThreadPoolQueueCapacity consumerOffsetUpdateVersionStep controllerAddr \
    controllerHeartBeatTimeoutMills defaultMessageRequestMode defaultPopShareQueueNum \
    delayOffsetUpdateVersionStep deleteConsumerOffsetInterval disableConsumeIfConsumerReadSlowly \
    electionPriority enableBroadcastOffsetStore enableCalcFilterBitMap enableDetailStat \
    enableMixedMessageType enableNettyServerMetrics enableNotifyAfterPopOrderLockRelease \
    enableNotifyBeforePopCalculateLag enablePopBatchAck enablePopBufferMerge enablePopLog \
    enablePopLogPrint enablePopMessageThreshold enablePropertyFilter enableRegisterProducer \
    enableRemoteEscape enableRequestCodeBlockList enableRetryTopicV2 enableSingleTopicRegister \
    enableSkipLongAwaitingAck enableSplitMetadata enableSplitRegistration \
    endTransactionPoolQueueCapacity endTransactionThreadPoolNums \
    estimateAccumulation expectConsumerNumUseFilter fastFailIfNoBufferInStorePool \
    fetchNameSrvAddrByDnsLookup fetchNamesrvAddrByAddressServer fetchNamesrvAddrByDnsLookup \
    filterDataCleanTimeSpan filterServerNums filterSupportRetry \
    flushConsumerOffsetHistoryInterval forceRegister forwardTimeout heartbeatThreadPoolNums \
    heartbeatThreadPoolQueueCapacity highSpeedMode initPopOffsetByCheckMsgInMem isolateLogEnable \
    litePullMessageThreadPoolNums litePullThreadPoolQueueCapacity \
    loadBalancePollNameServerInterval loadBalanceProcessorThreadPoolNums \
    loadBalanceThreadPoolQueueCapacity lockInStrictMode longPollingMaxMemoryRatio \
    maxErrorRateOfBloomFilter maxPopPollingSize maxStatsIdleTimeInMinutes messageStorePlugIn \
    metricsExporterType metricsGrpcExporterHeader metricsGrpcExporterIntervalInMills \
    metricsGrpcExporterTarget metricsGrpcExporterTimeOutInMills metricsInDelta metricsLabel \
    metricsLoggingExporterIntervalInMills metricsOtelCardinalityLimit metricsPromExporterHost \
    metricsPromExporterPort msgTraceTopicName notifyConsumerIdsChangedEnable \
    pollNameServerInterval popCkMaxBufferSize popCkOffsetMaxQueueSize popCkStayBufferTime \
    popCkStayBufferTimeOut popConsumerKVServiceEnable popConsumerKVServiceInit \
    popConsumerKVServiceLog popFromRetryProbability popInflightMessageThreshold \
    popPollingMapSize popPollingSize popReviveMaxAttemptTimes processReplyMessageThreadPoolNums \
    pullMessageThreadPoolNums pullThreadPoolQueueCapacity putMessageFutureThreadPoolNums \
    putThreadPoolQueueCapacity queryMessageThreadPoolNums queryThreadPoolQueueCapacity \
    realTimeNotifyConsumerChange recallMessageEnable recoverConcurrently regionId \
    registerBrokerTimeoutMills rejectPullConsumerEnable rejectTransactionMessage \
    replyThreadPoolQueueCapacity retrieveMessageFromPopRetryTopicV1 reviveAckWaitMs \
    reviveInterval reviveMaxSlow reviveQueueNum reviveScanTime rocketmqHome secretKey \
    sendHeartbeatTimeoutMillis sendMessageThreadPoolNums sendThreadPoolQueueCapacity \
    serverLoadBalancerEnable shutdownWaitTimeSeconds skipPreOnline \
    splitMetadataSize splitRegistrationSize startAcceptSendRequestTimeStamp \
    storeReplyMessageEnable subscriptionExpiredTimeout \
    syncBrokerMetadataPeriod syncControllerMetadataPeriod traceOn traceTopicEnable \
    trackUnusedConsumer transactionCheckInterval transactionCheckMax \
    transactionMetricFlushInterval transactionOpBatchInterval transactionOpMsgMaxSize \
    transactionTimeOut transferMsgByHeap usePopConsumerKVService \
    useSingleRocksDBForAllConfigs validateSystemTopicWhenUpdateTopic waitTimeMillsInAckQueue \
    waitTimeMillsInAdminBrokerQueue waitTimeMillsInHeartbeatQueue waitTimeMillsInLitePullQueue \
    waitTimeMillsInPullQueue waitTimeMillsInSendQueue waitTimeMillsInTransactionQueue \
    warmMapedFileEnable";

/// Of its store. `abortFile`, `storeCheckpoint`, `storePathConsumeQueue` and `storePathIndex` are
/// in many files on the web; Apache's store reads none of them.
pub const STORE: &str = "\
    abortFile asyncLearner \
    autoMessageVersionOnTopicLen batchDispatchRequestThreadPoolNums bitMapLengthConsumeQueueExt \
    bottomMostCompressionTypeForConsumeQueueStore \
    cleanRocksDBDirtyCQIntervalMin coldDataFlowControlEnable \
    coldDataScanEnable combineCQEnableCheckSelf combineCQMaxExtraSearchCommitLogFiles \
    combineCQPreferCQType combineCQUseRocksdbForLmq combinedCQLoadingCQTypes \
    \
    commitLogForceSwapMapInterval compactionCqMappedFileSize compactionMappedFileSize \
    compactionScheduleInternal compactionThreadNum debugLockEnable \
    defaultQueryMaxNum deleteConsumeQueueFilesInterval \
    destroyMapedFileIntervalForcibly disappearTimeAfterStart diskFallRecorded \
    dispatchCqCacheNum dispatchCqThreads duplicationEnable enableAsyncReput \
    enableAutoInSyncReplicas enableBatchPush enableBuildConsumeQueueConcurrently \
    enableBuildMultiDispatch enableCompaction enableLmqQuota \
    enableLogConsumeQueueRepeatedlyBuildWhenRecover enableRocksDBLog \
    enableScheduleAsyncDeliver enableScheduleMessageStats \
    fastFailIfNoBufferInStorePool flushCommitLogTimed flushConsumeQueueLeastPages \
    flushConsumeQueueThoroughInterval flushDelayOffsetInterval flushIntervalConsumeQueue \
    flushLeastPagesWhenWarmMapedFile \
  \
    haSlaveFallbehindMax \
    indexFileReadEnable indexFileWriteEnable indexRocksDBEnable \
    logicalDiskSpaceCleanForciblyThreshold mappedFileSizeTimerLog \
    mappedFileSwapEnable maxAsyncPutMessageRequests \
    maxBatchDeleteFilesNum maxChecksumRange maxFilterMessageSize \
    maxMsgsNumBatch maxOffsetMapSize \
    maxRecoveryCommitlogFiles maxSlaveResendLength maxSlaveSizeInMaster maxTopicLength \
    maxTransferBytesOnMessageInDisk maxTransferBytesOnMessageInMemory \
    maxTransferCountOnMessageInDisk maxTransferCountOnMessageInMemory memTableFlushIntervalMs \
    messageDelayLevelExt messageIndexSafe \
    multiDispatchEnable offsetCheckInSlave osPageCacheBusyTimeOutMills preferredLeaderId \
    pullBatchMaxMessageCount putConsumeQueueDataByFileChannel putMessageTimeout \
    putMsgIndexHightWater readOnlyCommitLogStorePaths readUnCommitted \
    realTimePersistRocksDBConfig redeleteHangedFileInterval replicasPerDiskPartition \
    rocksdbCQDoubleWriteEnable sampleCountThreshold sampleSteps searchBcqByCacheEnable \
    startOffset storeCheckpoint storePathBrokerIdentity storePathConsumeQueue \
    storePathDLedgerCommitLog storePathEpochFile storePathIndex storePathRocksDBConfig \
    syncMasterFlushOffsetWhenStartup timerCheckMetricsWhen \
    timerColdDataCheckEnable timerCongestNumEachSlot timerEnableCheckMetrics \
    timerEnableDisruptor timerEnableRetryUntilSuccess timerFlushIntervalMs \
    timerGetMessageThreadNum timerInterceptDelayLevel timerMaxDelaySec timerMetricSmallThreshold \
    timerPrecisionMs timerProgressLogIntervalMs timerPutMessageThreadNum timerRocksDBEnable \
    timerRollWindowSlot timerSkipUnknownError timerStopDequeue timerStopEnqueue timerWarmEnable \
    timerWheelEnable timerWheelSnapshotFlush topicQueueLockNum totalReplicas transRocksDBEnable \
    transferMetadataJsonToRocksdb transferOffsetJsonToRocksdb \
    travelCqFileNumWhenGetMessage useABSLock \
    useReentrantLockWhenPutMessage useScheduleMessageServiceV2 useSeparateRetryTopicQueue \
    useSpinLock wakeCommitWhenPutMessage wakeFlushWhenPutMessage writeWithoutMmap";

/// Of the server and client side of the remoting protocol.
pub const REMOTING: &str = "\
    callbackThreadPoolNums channelNotActiveInterval clientAsyncSemaphoreValue \
    clientCallbackExecutorThreads clientChannelMaxIdleTimeSeconds clientCloseSocketIfTimeout \
    clientOnewaySemaphoreValue clientPooledByteBufAllocatorEnable clientSocketRcvBufSize \
    clientSocketSndBufSize clientWorkerThreads connectTimeoutMillis enableHttp2Proxy \
    enableReconnectForGoAway enableShutdownGracefully enableTransparentRetry \
    requireClientAuth scanAvailableNameSrv serverAsyncSemaphoreValue \
    serverCallbackExecutorThreads serverNettyWorkerGroupEnable \
    serverOnewaySemaphoreValue serverPooledByteBufAllocatorEnable serverSelectorThreads \
    serverSocketBacklog serverSocketRcvBufSize serverSocketSndBufSize serverWorkerThreads \
    socksProxyConfig useEpollNativeSelector useTLS workerThreads writeBufferHighWaterMark \
    writeBufferLowWaterMark";

/// Of the name server.
pub const NAMESRV: &str = "\
    clientRequestThreadPoolNums clientRequestThreadPoolQueueCapacity clusterTest configBlackList \
    configStorePath defaultThreadPoolNums defaultThreadPoolQueueCapacity enableAllTopicList \
    enableTopicList needWaitForService productEnvName rocketmqHome unRegisterBrokerQueueCapacity \
    waitSecondsForService";
