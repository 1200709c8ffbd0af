# PROGRAM JOB CLIENT PROTOCOL MODE PASSWORD ADDRESS…: see ../README.md. Sidekiq with redis-rb, as the distribution has them.

require 'json'
require 'sidekiq'
require 'sidekiq/api'
require 'sidekiq/cli'

WAIT_S = 20
NAME = 'orders'.freeze

job, client, _protocol, mode, password, *addresses = ARGV
abort "no such client or job: #{client} #{job}" unless [job, client] == %w[work sidekiq]
where =
  if mode == 'sentinel'
    sentinels = addresses.map { |a| a.split(':') }.map { |host, port| { host: host, port: port.to_i, password: password } }
    { url: "redis://#{NAME}", sentinels: sentinels, role: :master, password: password }
  else
    # docs: sidekiq
    { url: "redis://:#{password}@#{addresses.first}/0" }
    # end
  end
Sidekiq.configure_client { |config| config.redis = where }
Sidekiq.configure_server { |config| config.redis = where }
Sidekiq.logger.level = Logger::ERROR
Redis.sadd_returns_boolean = false

# Adds what it is given to a list.
class Note
  include Sidekiq::Worker

  def perform(text)
    Sidekiq.redis { |redis| redis.rpush('noted', text) }
  end
end

# Fails at first, and is tried again a second later.
class Stubborn
  include Sidekiq::Worker
  sidekiq_options retry: 3
  sidekiq_retry_in { 1 }

  def perform(key)
    raise 'not yet' if Sidekiq.redis { |redis| redis.incr(key) } < 2

    Sidekiq.redis { |redis| redis.rpush('noted', 'at last') }
  end
end

# Fails for good.
class Hopeless
  include Sidekiq::Worker
  sidekiq_options retry: 0

  def perform
    raise 'broken'
  end
end

def noted
  Sidekiq.redis { |redis| redis.lrange('noted', 0, -1) }
end

def wait_for(what)
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + WAIT_S
  until yield
    raise "not within #{WAIT_S} s: #{what}" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

    sleep 0.02
  end
end

def checked(name)
  yield
  puts JSON.generate(checked: name)
  $stdout.flush
end

Sidekiq.redis { |redis| redis.del('noted', 'tries', 'queue:default', 'retry', 'schedule', 'dead') }

worker = fork do
  cli = Sidekiq::CLI.instance
  $stderr.reopen(File::NULL)
  cli.parse(['sidekiq', '-c', '3', '-q', 'urgent,5', '-q', 'default', '-r', __FILE__, '-e', 'production'])
  Sidekiq.options[:poll_interval_average] = 1
  require 'sidekiq/launcher'
  launcher = Sidekiq::Launcher.new(Sidekiq.options)
  launcher.run
  sleep
end

begin
  checked('jobs') do
    50.times { |n| Note.perform_async(n.to_s) }
    wait_for('all are done') { noted.size == 50 }
    raise "done: #{noted}" unless noted.map(&:to_i).sort == (0...50).to_a
  end
  checked('jobs in bulk') do
    Sidekiq::Client.push_bulk('class' => Note, 'args' => (50...100).map { |n| [n.to_s] })
    wait_for('all are done') { noted.size == 100 }
  end
  checked('retries') do
    Stubborn.perform_async('tries')
    wait_for('it has succeeded') { noted.last == 'at last' }
  end
  checked('failures') do
    Hopeless.perform_async
    wait_for('it is dead') { Sidekiq::DeadSet.new.any? { |one| one.klass == 'Hopeless' } || Sidekiq::Stats.new.failed >= 2 }
  end
  checked('scheduled jobs') do
    begun = Time.now
    Note.perform_in(1, 'later')
    raise 'it is not scheduled' unless Sidekiq::ScheduledSet.new.size == 1

    wait_for('it has run') { noted.last == 'later' }
    raise 'too early' if Time.now - begun < 0.9
  end
  checked('statistics') do
    wait_for('they are written') { Sidekiq::Stats.new.processed >= 100 }
    wait_for('the process is known') { Sidekiq::ProcessSet.new.size >= 1 }
  end
ensure
  Process.kill('KILL', worker)
  Process.wait(worker)
end
