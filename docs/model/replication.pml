/*
 * The core of Holdfast's replication (DESIGN §4) as a model that spin checks in every state it can reach.
 *
 * One container on three replicas under one CLDB. Each inline below `steps` is one step of the code that nobody can see
 * half done; README.md names the code of each, says what is left out, and why messages that are under way need no place
 * of their own. A record is epoch * 4 + number: 0 begins the epoch, the others are clients' writes, each written once.
 *
 * `agreed` exists for the assertions only: no step looks at it to decide. Names in capitals are set by `check`: sizes,
 * mistakes (the mutations of README.md), and SHOW_ things that must be possible.
 */
#ifndef WRITES
#define WRITES 2
#endif
#ifndef FAILURES
#define FAILURES 2
#endif
#ifndef EPOCHS
#define EPOCHS 5
#endif

/* A crash of all three at once counts as so many failures. */
#ifndef COST_OF_ALL
#define COST_OF_ALL 1
#endif

#define REPLICAS 3
#define RECORDS (EPOCHS + WRITES)
#define NOBODY REPLICAS
#define ALL 7

mtype = { idle, follower, recovering, master }
/* What a master knows of another replica; joining: live, caught up, and counted in the quorum. */
mtype = { lost, matching, live, joining }

/* The CLDB: durable, and told to others later. All replicas that are not in sync are resyncing. */
byte currentEpoch = 1;
byte currentMaster = 0;
byte currentInSync = ALL;

/* A replica. Durable: its epoch, its log up to `durable`; and up to `uncut` what was cut and not synced since. */
byte epoch[REPLICAS] = 1;
byte appended[REPLICAS] = 1;
byte durable[REPLICAS] = 1;
byte uncut[REPLICAS];
byte committed[REPLICAS] = 1;
byte log[REPLICAS * RECORDS];
mtype role[REPLICAS] = follower;
/* Its process is registered and its lease runs; if not it is out of touch with the CLDB, or crashed and not yet back. */
bit leased[REPLICAS] = 1;

/* A replica that leads. */
byte inSync[REPLICAS];
mtype phase[REPLICAS * REPLICAS] = lost;
byte acknowledged[REPLICAS * REPLICAS];
bit offered[REPLICAS * REPLICAS];

byte writes;
byte failures;

/* Every record that some master took for committed, at its sequence. */
byte agreed[RECORDS];
byte agreedLast = 1;

/* Scratch of single steps, no part of the state. */
hidden byte i, j, k, point, quorum;

#define record(r, sequence) log[(r) * RECORDS + (sequence) - 1]
#define epochOf(which) ((which) >> 2)
#define of(m, f) ((m) * REPLICAS + (f))
#define has(set, r) (((set) >> (r)) & 1)
#define only(r) (1 << (r))
#define leads(r) (role[r] == recovering || role[r] == master)
#define streams(m, f) (phase[of(m, f)] == live || phase[of(m, f)] == joining)
#define least(a, b) (a < b -> a : b)

/* ------------------------------------------------------------------------------------------------ mutations */

/* Whether f takes what m sends it. */
#ifdef NO_EPOCH_CHECK
#define follows(f, m) (role[f] == follower && epoch[f] >= epoch[m])
#define mayFollow(f, m) (!leads(f))
#else
#define follows(f, m) (role[f] == follower && epoch[f] == epoch[m])
#define mayFollow(f, m) (epoch[f] <= epoch[m])
#endif

/* Whether m waits for f before it takes a record for committed. */
#if defined(ANSWER_AT_ONCE)
#define counts(m, f) false
#elif defined(JOINING_NOT_COUNTED)
#define counts(m, f) has(inSync[m], f)
#elif defined(OFFERED_NOT_COUNTED)
#define counts(m, f) (has(inSync[m], f) || phase[of(m, f)] == joining)
#elif defined(LOST_NOT_COUNTED)
#define counts(m, f) (phase[of(m, f)] != lost && (has(inSync[m], f) || phase[of(m, f)] == joining || offered[of(m, f)]))
#else
#define counts(m, f) (has(inSync[m], f) || phase[of(m, f)] == joining || offered[of(m, f)])
#endif

#ifdef EARLY_ACK
#define answer(f) appended[f]
#else
#define answer(f) durable[f]
#endif

#ifdef ACK_OF_ANY_EPOCH
#define answers(f, m) true
#else
#define answers(f, m) follows(f, m)
#endif

#ifdef STALE_MEMBER
#define holdsAll(f, m) true
#else
#define holdsAll(f, m) (acknowledged[of(m, f)] >= committed[m])
#endif

#ifdef NO_COMPARE
#define mayConfigure(m) leads(m)
#else
#define mayConfigure(m) (leads(m) && currentMaster == m && currentEpoch == epoch[m])
#endif

#ifdef STALE_MASTER
#define candidate(r) true
#else
#define candidate(r) has(currentInSync, r)
#endif

#ifdef NO_LEASE
#define leaseOver(r) true
#else
#define leaseOver(r) (!leased[r])
#endif

/* --------------------------------------------------------------------------------------------------- safety */

/* The log of r agrees with everything that was ever committed, up to `last`. */
inline agrees(r, last) {
  i = last;
  do
  :: i == 0 -> break
  :: else -> assert(i <= appended[r] && record(r, i) == agreed[i - 1]); i--
  od
}

/* Holds after each step that could change it. */
inline check() {
  for (k : 0 .. REPLICAS - 1) {
    if
    :: has(currentInSync, k) ->
      assert(durable[k] >= agreedLast); /* an in-sync replica holds every committed record, durably */
      agrees(k, agreedLast)
    :: else
    fi;
    if
    :: role[k] == master && leased[k] ->
      assert(committed[k] == agreedLast) /* who answers clients knows everything that was ever answered */
    :: else
    fi
  }
  k = 0
}

/* ---------------------------------------------------------------------------------------- parts of the steps */

inline append(r, what) {
  record(r, appended[r] + 1) = what;
  for (i : appended[r] + 2 .. RECORDS) {
    record(r, i) = 0
  }
  i = 0;
  appended[r]++;
  uncut[r] = 0
}

/* What every member of the quorum holds durably is committed; with the epoch-start record among it the master serves. */
inline advance(m) {
  quorum = durable[m];
  for (j : 0 .. REPLICAS - 1) {
    if
    :: j != m && counts(m, j) -> quorum = least(quorum, acknowledged[of(m, j)])
    :: else
    fi
  }
  if
  :: quorum > committed[m] ->
    committed[m] = quorum;
    point = least(quorum, agreedLast);
    agrees(m, point); /* equal records at equal sequence, below committed */
    for (i : agreedLast + 1 .. quorum) {
      agreed[i - 1] = record(m, i)
    }
    agreedLast = (quorum > agreedLast -> quorum : agreedLast);
    i = 0;
    point = 0
  :: else
  fi;
  if
#ifdef SERVE_EARLY
  :: role[m] == recovering ->
#else
  :: role[m] == recovering && committed[m] > 0 && epochOf(record(m, committed[m])) == epoch[m] ->
#endif
#ifdef SHOW_FAILOVER
    assert(m == 0);
#endif
    role[m] = master
  :: else
  fi;
  j = 0;
  quorum = 0;
#ifdef SHOW_COMMITTED
  assert((agreed[agreedLast - 1] & 3) != WRITES);
#endif
  check()
}

inline stepDown(r) {
  role[r] = idle;
  inSync[r] = 0;
  for (j : 0 .. REPLICAS - 1) {
    phase[of(r, j)] = lost;
    acknowledged[of(r, j)] = 0;
    offered[of(r, j)] = 0
  }
  j = 0
}

/* Stores the CLDB's epoch, then begins it: all other members of the in-sync set are to be matched. */
inline lead(m) {
  for (j : 0 .. REPLICAS - 1) {
    assert(!(leads(j) && epoch[j] == currentEpoch)); /* one epoch, one master, which begins it once */
    assert(appended[j] == 0 || epochOf(record(j, appended[j])) < currentEpoch)
  }
  assert(has(currentInSync, m));
  stepDown(m);
  epoch[m] = currentEpoch;
  role[m] = recovering;
  inSync[m] = currentInSync;
  append(m, currentEpoch << 2);
  for (j : 0 .. REPLICAS - 1) {
    phase[of(m, j)] = (j != m && has(currentInSync, j) -> matching : lost)
  }
  j = 0
}

/* To `point`: the end, in the shorter log, of the latest epoch of m's log that the log of f has too. */
inline divergence(m, f) {
  point = 0;
  i = appended[m];
  do
  :: i == 0 -> break
  :: else ->
    j = appended[f];
    do
    :: j > 0 && epochOf(record(f, j)) != epochOf(record(m, i)) -> j--
    :: else -> break
    od;
    if
    :: j > 0 -> point = least(i, j); break
    :: else -> i--
    fi
  od;
  /* Up to there the logs are equal, and not beyond. */
  for (i : 1 .. point) {
    assert(record(m, i) == record(f, i))
  }
  assert(point == appended[m] || point == appended[f] || record(m, point + 1) != record(f, point + 1));
  i = 0;
  j = 0
}

/* The log of f ends after `point`. The rest stays on the disk until the next sync. */
inline rollback(f) {
  assert(point >= committed[f]); /* rollback never below committed */
  if
  :: appended[f] > point -> uncut[f] = appended[f]
  :: else
  fi;
  appended[f] = point;
  durable[f] = least(durable[f], point)
}

/* What f lacks is not its to apply. */
inline hear(f, known) {
  point = least(known, appended[f]);
  committed[f] = (point > committed[f] -> point : committed[f]);
  agrees(f, committed[f]);
  point = 0
}

inline configure(m, set) {
  currentInSync = set;
  currentMaster = m;
  currentEpoch++;
#ifdef SHOW_RETURN
  assert(currentInSync != ALL);
#endif
  check()
}

/* The process ends; what is left of the log ends after `last`. */
inline end(r, last) {
  printf("FAILURE: %d crashes; its log ends after %d\n", r, last);
  for (i : last + 1 .. RECORDS) {
    record(r, i) = 0
  }
  i = 0;
  appended[r] = last;
  committed[r] = least(committed[r], durable[r]);
  durable[r] = last;
  uncut[r] = 0;
  leased[r] = 0;
  stepDown(r);
  check()
}

/* ------------------------------------------------------------------------------- steps: CLDB and one replica */

/* A client's write. */
inline write(m) {
  d_step {
    role[m] == master && leased[m] && writes < WRITES -> printf("%d writes %d\n", m, writes + 1);
    writes++;
    append(m, (epoch[m] << 2) + writes)
  }
}

/* fdatasync returned, and if r follows, its master hears of it. */
#define acknowledges(r, m) (streams(m, r) && follows(r, m))
#define heard(r, a, b) (leads(r) || acknowledges(r, a) || acknowledges(r, b))
inline sync(r, a, b) {
  d_step {
    (durable[r] < appended[r] || uncut[r] > 0) && heard(r, a, b) -> printf("%d syncs up to %d\n", r, appended[r]);
    durable[r] = appended[r];
    uncut[r] = 0;
    for (i : appended[r] + 1 .. RECORDS) {
      record(r, i) = 0
    }
    i = 0;
    if
    :: leads(r) -> advance(r)
    :: acknowledges(r, a) -> acknowledged[of(a, r)] = durable[r]; advance(a)
    :: acknowledges(r, b) -> acknowledged[of(b, r)] = durable[r]; advance(b)
    :: else
    fi
  }
}

/* The CLDB's word reaches the master of the current epoch. */
inline assign(m) {
  d_step {
    leased[m] && currentMaster == m && epoch[m] < currentEpoch -> printf("%d leads epoch %d\n", m, currentEpoch); lead(m)
  }
}

/* A new process, or one that was out of touch: its lease counts when what the CLDB tells it is carried out. */
inline register(r) {
  d_step {
    !leased[r] && (currentMaster == r || leads(r)) -> printf("%d is in touch with the CLDB\n", r);
    leased[r] = 1;
    if
#ifdef EPOCH_RESUMED
    :: currentMaster == r && role[r] == idle && epoch[r] > 0 -> epoch[r]--; lead(r)
#endif
    :: currentMaster == r && role[r] == idle -> currentMaster = NOBODY
#ifndef LEASE_UNTOLD
    :: currentMaster == r && role[r] != idle && epoch[r] < currentEpoch -> lead(r)
    :: currentMaster != r && epoch[r] < currentEpoch -> stepDown(r); epoch[r] = currentEpoch
#endif
    :: else
    fi;
    check()
  }
}

/* Compare and set at the CLDB, at the master's request: lost members out, offered ones in, or only a new epoch. */
#define changes(m, f) ((has(inSync[m], f) && phase[of(m, f)] == lost) || offered[of(m, f)])
#define unsettled(m, f) (offered[of(m, f)] && phase[of(m, f)] != joining)
inline reconfigure(m, f) {
  d_step {
    mayConfigure(m) && currentEpoch < EPOCHS && changes(m, f) -> printf("epoch %d: %d changes the place of %d\n", currentEpoch + 1, m, f); configure(m, currentInSync ^ only(f))
  }
}
inline reconfigureBoth(m, f, g) {
  d_step {
    mayConfigure(m) && currentEpoch < EPOCHS && changes(m, f) && changes(m, g) -> printf("epoch %d: %d changes the places of both others\n", currentEpoch + 1, m);
    configure(m, currentInSync ^ only(f) ^ only(g))
  }
}
inline reconfigureNothing(m, f, g) {
  d_step {
    mayConfigure(m) && currentEpoch < EPOCHS && (unsettled(m, f) || unsettled(m, g)) -> printf("epoch %d: %d only begins anew\n", currentEpoch + 1, m); configure(m, currentInSync)
  }
}

/* Any member of the in-sync set may become master, as soon as it hears of it. Who is in sync stays so. */
#define vacant(r) (currentMaster == NOBODY || (currentMaster != r && leaseOver(currentMaster)))
inline elect(r) {
  d_step {
    currentEpoch < EPOCHS && candidate(r) && vacant(r) -> printf("epoch %d: %d is chosen\n", currentEpoch + 1, r);
    leased[r] = 1;
    configure(r, currentInSync | only(r));
    lead(r)
  }
}

/* ------------------------------------------------------------------------------- steps: master m and member f */

/* f stores the epoch of m, refuses older masters from then on, and cuts its log to what it shares with m. */
#define unmatched(m, f) (phase[of(m, f)] == matching || (phase[of(m, f)] == lost && !has(inSync[m], f)))
inline match(m, f) {
  d_step {
    leads(m) && unmatched(m, f) && mayFollow(f, m) -> printf("%d follows %d in epoch %d\n", f, m, epoch[m]);
    assert(!(leads(f) && epoch[f] == epoch[m]));
    stepDown(f);
    epoch[f] = epoch[m];
    role[f] = follower;
    leased[f] = leased[f] || currentMaster != f;
    divergence(m, f);
#ifdef SHOW_ROLLBACK
    assert(appended[f] - point < SHOW_ROLLBACK);
#endif
#ifdef ROLLBACK_TOO_LITTLE
    point = (point < appended[f] -> point + 1 : point);
#endif
#ifdef ROLLBACK_TOO_MUCH
    point = (point > 0 -> point - 1 : 0);
#endif
    rollback(f);
    point = 0;
    phase[of(m, f)] = live;
    acknowledged[of(m, f)] = 0;
    check()
  }
}

/* f appends the next record of m's log, and hears what is committed. */
inline receive(m, f) {
  d_step {
    streams(m, f) && follows(f, m) && appended[f] < appended[m] -> printf("%d receives record %d of %d\n", f, appended[f] + 1, m);
    append(f, record(m, appended[f] + 1));
    hear(f, committed[m])
  }
}

/* m hears what f holds. */
inline acknowledge(m, f) {
  d_step {
    streams(m, f) && answers(f, m) && acknowledged[of(m, f)] < answer(f) -> printf("%d hears that %d holds %d\n", m, f, answer(f));
    acknowledged[of(m, f)] = answer(f);
    advance(m)
  }
}

/* Everything in m's log is on its way to f: f counts from now on. */
inline catchUp(m, f) {
  d_step {
    phase[of(m, f)] == live && !has(inSync[m], f) -> printf("%d counts %d\n", m, f); phase[of(m, f)] = joining
  }
}

/* f holds everything that is committed: the CLDB is asked to put it in the in-sync set. */
inline offer(m, f) {
  d_step {
    role[m] == master && phase[of(m, f)] == joining && !offered[of(m, f)] && holdsAll(f, m) -> printf("%d offers %d\n", m, f); offered[of(m, f)] = 1
  }
}

/* f refuses, or has crashed, or led before and is out of touch with the CLDB. */
#define refuses(m, f) (epoch[f] > epoch[m] || (streams(m, f) && role[f] != follower))
#define silent(f) (!leased[f])
inline forget(m, f) {
  phase[of(m, f)] = lost;
  if
  :: !counts(m, f) -> acknowledged[of(m, f)] = 0
  :: else
  fi
}
inline lose(m, f) {
  d_step {
    leads(m) && phase[of(m, f)] != lost && (refuses(m, f) || silent(f)) -> printf("%d loses %d\n", m, f);
    forget(m, f);
    advance(m)
  }
}

/* -------------------------------------------------------------------------------------------- steps: failures */

/* What a crash leaves: what was synced; all or a part of what was written besides; or what was cut is back. */
inline crash(r) {
  if
  :: d_step { end(r, durable[r]) }
  :: d_step { durable[r] < appended[r] -> end(r, appended[r]) }
  :: d_step { durable[r] + 1 < appended[r] -> end(r, durable[r] + 1) }
  :: d_step { durable[r] + 2 < appended[r] -> end(r, durable[r] + 2) }
  :: d_step { uncut[r] > 0 -> end(r, uncut[r]) }
  fi
}

inline crashOne(r) {
  atomic {
    failures < FAILURES -> failures++; crash(r)
  }
}

inline crashAll() {
  atomic {
    failures + COST_OF_ALL <= FAILURES -> failures = failures + COST_OF_ALL; crash(0); crash(1); crash(2)
  }
}

/* The connection between m and f is gone. */
inline disconnect(m, f) {
  d_step {
    failures < FAILURES && leads(m) && phase[of(m, f)] != lost -> printf("FAILURE: %d loses its connection to %d\n", m, f);
    failures++;
    forget(m, f);
    advance(m)
  }
}

/* The master loses touch with the CLDB until its lease ends, and works on. */
inline silence() {
  d_step {
    failures < FAILURES && currentMaster != NOBODY && leased[currentMaster] -> printf("FAILURE: %d loses touch with the CLDB\n", currentMaster);
    failures++;
    leased[currentMaster] = 0
  }
}

/* The container is in its first epoch, and its three replicas agree. */
init {
  d_step {
    for (k : 0 .. REPLICAS - 1) {
      record(k, 1) = 1 << 2
    }
    agreed[0] = 1 << 2;
    role[0] = master;
    inSync[0] = ALL;
    phase[of(0, 1)] = live;
    phase[of(0, 2)] = live;
    acknowledged[of(0, 1)] = 1;
    acknowledged[of(0, 2)] = 1;
    k = 0
  }
  do
  :: write(0) :: write(1) :: write(2)
  :: sync(0, 1, 2) :: sync(1, 0, 2) :: sync(2, 0, 1)
  :: assign(0) :: assign(1) :: assign(2)
  :: register(0) :: register(1) :: register(2)
  :: elect(0) :: elect(1) :: elect(2)
  :: reconfigure(0, 1) :: reconfigure(0, 2) :: reconfigure(1, 0)
  :: reconfigure(1, 2) :: reconfigure(2, 0) :: reconfigure(2, 1)
  :: reconfigureBoth(0, 1, 2) :: reconfigureBoth(1, 0, 2) :: reconfigureBoth(2, 0, 1)
  :: reconfigureNothing(0, 1, 2) :: reconfigureNothing(1, 0, 2) :: reconfigureNothing(2, 0, 1)
  :: match(0, 1) :: match(0, 2) :: match(1, 0) :: match(1, 2) :: match(2, 0) :: match(2, 1)
  :: receive(0, 1) :: receive(0, 2) :: receive(1, 0) :: receive(1, 2) :: receive(2, 0) :: receive(2, 1)
  :: acknowledge(0, 1) :: acknowledge(0, 2) :: acknowledge(1, 0)
  :: acknowledge(1, 2) :: acknowledge(2, 0) :: acknowledge(2, 1)
  :: catchUp(0, 1) :: catchUp(0, 2) :: catchUp(1, 0) :: catchUp(1, 2) :: catchUp(2, 0) :: catchUp(2, 1)
  :: offer(0, 1) :: offer(0, 2) :: offer(1, 0) :: offer(1, 2) :: offer(2, 0) :: offer(2, 1)
  :: lose(0, 1) :: lose(0, 2) :: lose(1, 0) :: lose(1, 2) :: lose(2, 0) :: lose(2, 1)
  :: crashOne(0) :: crashOne(1) :: crashOne(2) :: crashAll()
  :: disconnect(0, 1) :: disconnect(0, 2) :: disconnect(1, 0)
  :: disconnect(1, 2) :: disconnect(2, 0) :: disconnect(2, 1)
  :: silence()
  :: timeout -> break
  od;
  /* Nothing more can happen: the container is whole again, or its epochs are used up. */
  skip;
  d_step {
    for (k : 0 .. REPLICAS - 1) {
      assert(currentEpoch == EPOCHS || (has(currentInSync, k) && appended[k] == agreedLast && writes == WRITES))
    }
    k = 0
  }
}
