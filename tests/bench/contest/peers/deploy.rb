set :application, ENV.fetch("APP")
set :deploy_to, "/home/#{ENV.fetch('APP')}"
set :current_directory, "app"
set :keep_releases, 2
set :sshkit_backend, SSHKit::Backend::Local
set :format, :dot
set :log_level, :error

namespace :deploy do
  task :restart do
    on roles(:app) do
      execute :systemctl, "restart", "#{fetch(:application)}.service"
      execute :sh, "-c", "'until curl -fsS -o /dev/null http://127.0.0.1:#{ENV.fetch('PORT')}/health 2>/dev/null; do sleep 0.05; done'"
    end
  end
  after :publishing, :restart
end
